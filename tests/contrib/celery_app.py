"""The app of the workers of test_celery_workers.py; the environment says where."""

from __future__ import annotations

import os

from celery import Celery

from smtpsend import Method, Password, Policy, Server
from smtpsend.contrib.celery import mail_task


app = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    task_acks_late=True,  # the task knows better
    worker_prefetch_multiplier=1,
)


def server() -> Server:
    """The test's server."""
    method = Method(int(os.environ["SMTP_PORT"]), "starttls")
    auth = Password(os.environ["SMTP_USER"], os.environ["SMTP_SECRET"])
    policy = Policy(methods=(method,))
    return Server("127.0.0.1", auth, policy=policy, cafile=os.environ["SMTP_CA"])


send_mail = mail_task(server, name="tests.worker", first_delay=0.1)
