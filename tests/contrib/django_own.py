"""Run Django's own tests of its SMTP backend against this library's.

``python django_own.py FOLDER``, where FOLDER holds the package ``mail`` of the tests in
a source distribution of the installed Django. Prints one JSON object: how many ran, and
what each test that did not pass said.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import unittest

import django
from django.conf import settings
from django.core.mail.backends import smtp
from django.test.utils import setup_test_environment


def main(folder: str) -> None:
    """Run them."""
    sys.path.insert(0, folder)
    settings.configure(USE_TZ=True, INSTALLED_APPS=[], DATABASES={})
    django.setup()
    setup_test_environment()
    from smtpsend.contrib.django import EmailBackend

    smtp.EmailBackend = EmailBackend
    module = "mail.test_backends" if django.VERSION >= (6, 1) else "mail.tests"
    tests = importlib.import_module(module)
    suite = unittest.TestSuite(
        unittest.defaultTestLoader.loadTestsFromTestCase(getattr(tests, name))
        for name in ("SMTPBackendTests", "SMTPBackendStoppedServerTests")
    )
    result = unittest.TextTestRunner(io.StringIO(), buffer=True).run(suite)
    told = {}
    for test, trace in result.failures + result.errors:
        # A test with subtests is named once.
        name = getattr(test, "test_case", test).id().rpartition(".")[2]
        told[name] = trace.strip().splitlines()[-1]
    print(json.dumps({"ran": result.testsRun, "told": told}))


if __name__ == "__main__":
    main(sys.argv[1])
