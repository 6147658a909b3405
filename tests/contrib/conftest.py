"""The tests of an integration need what it integrates; the extra dev has all of it."""

from __future__ import annotations

import os
from importlib.util import find_spec


_NEEDS = {
    "django": [
        *("test_django.py", "test_django_own.py", "test_django_undecodable.py"),
        "test_django_names.py",
        "test_django_batch.py",
        "test_frames_django.py",
    ],
    "celery": ["test_celery.py", "test_celery_workers.py", "test_frames_celery.py"],
}

collect_ignore = [
    name
    for library, names in _NEEDS.items()
    if find_spec(library) is None and os.environ.get("SMTPSEND_REQUIRE_SERVERS") != "1"
    for name in names
]

if find_spec("django") is not None:
    import django
    from django.conf import settings

    settings.configure(USE_TZ=True, DATABASES={}, LOGGING_CONFIG=None)
    django.setup()
