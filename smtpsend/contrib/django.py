"""An e-mail backend for Django 5.2 and newer (extra ``django``).

::

    EMAIL_BACKEND = "smtpsend.contrib.django.EmailBackend"
    SMTPSEND_SERVER = "smtp://ann@example.org:secret@mail.example.org"  # or a Server,
    SMTPSEND_SERVER = Server.from_env  # or a function, called when a mail is sent

With the ``MAILERS`` of Django 6.1, give the same value as the option ``server``. Without
it, Django's own settings or options are used: host, user and password, and

=============================  =========================================================
port, ``use_tls``/``use_ssl``  effect
=============================  =========================================================
``use_ssl``                    implicit TLS on the port (465 if none is set)
``use_tls``, or a password     STARTTLS on the port (465: implicit TLS); if none is set,
                               the policy: 587, 465, 2525
neither                        no TLS, which only goes to this machine or a private
                               network (`Method`), such as a relay on localhost
=============================  =========================================================

Django's default port 25 counts as none set, except in the last line. TLS is always
verified. The timeout is for a whole message, or for all of `EmailBackend.open`.

After a send, the message has the receipt or the error in ``message.smtpsend_receipt`` or
``message.smtpsend_error``. If the program has no message object (``send_mail``), the
signal `mail_outcome` has them, too. A `Delivery` in ``message.smtpsend_delivery`` asks
for notifications (DSN), or for TLS on all of the way.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from email.message import Message
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.mail.backends import smtp
from django.dispatch import Signal

from smtpsend import (
    Client,
    Method,
    Outcome,
    Password,
    Policy,
    Receipt,
    SendError,
    Server,
)
from smtpsend._model.policy.policy import DEFAULT_METHODS, usual_security
from smtpsend._model.server.server import server_of
from smtpsend._model.shortage import raise_if_short
from smtpsend._model.tracebacks import hides_arguments
from smtpsend._wire.tls.context import verifying
from smtpsend.contrib._django_messages import Items, built
from smtpsend.contrib._django_settings import name_settings
from smtpsend.errors import ConfigError, DeliveryUnknown


__all__ = ["EmailBackend", "mail_outcome"]

log: logging.Logger = logging.getLogger("smtpsend.contrib.django")

mail_outcome: Any = Signal()
"""This signal is sent for each message: `message`, `receipt`, `error` (one is None)."""

_NOT_SET = 25  # Django's default


if TYPE_CHECKING:
    # Django has no types.
    class _Base:
        def __init__(self, *args: Any, **options: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    _Base = smtp.EmailBackend


class EmailBackend(_Base):
    """Django's SMTP backend, which sends by this library.

    It differs from Django's own in these points: TLS and ports are chosen as the module
    describes. A failure is a `SendError` (still an `smtplib.SMTPException`), which
    `fail_silently` does not raise, but logs as an error. Refused recipients are logged,
    and kept in the receipt. A connection lost between two messages is replaced. Each
    address needs a domain. As in Django, an unusable address or message raises a
    ValueError (`ConfigError`) also with `fail_silently`.

    Args:
        server: a `Server`, a host name, a URL, or a function that returns one, in place
            of host, port and TLS; the setting ``SMTPSEND_SERVER`` if neither is given.
        require_all: send a message to nobody unless all its recipients are accepted.
        options: those of Django's own backend.

    Attributes:
        connection: the open `Client`, or None.
    """

    @hides_arguments
    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,  # noqa: FBT001  # Django's signature
        fail_silently: bool = False,  # noqa: FBT001, FBT002
        *args: Any,
        server: Server | str | Callable[[], Server | str] | None = None,
        require_all: bool = False,
        **options: Any,
    ) -> None:
        if server is not None and host is not None:
            raise ConfigError("give either server or host, not both")
        self._named_by = "the option host" if server is None else "the option server"
        if server is None and host is None:
            server = getattr(settings, "SMTPSEND_SERVER", None)
            self._named_by = "EMAIL_HOST" if server is None else "SMTPSEND_SERVER"
        self.server: Server | None = self._server_of(server)
        self.require_all = require_all
        self._login, self._port = (username, password), port
        if self.server is not None:
            host = self.server.host
        # Without the option `alias`, Django would warn that the backend was not created
        # by `mail.mailers`, even if Django itself has created it.
        self.alias: str | None = options.setdefault("alias", None)
        self.connection: Client | None = None
        self._sending = False
        self._known: dict[int, Outcome] = {}  # outcomes, with those not yet published
        try:
            super().__init__(
                host, port, username, password, use_tls, fail_silently, *args, **options
            )
        except Exception as error:
            if host is None:
                error.add_note("Give the option 'server', or set SMTPSEND_SERVER.")
            raise

    @hides_arguments
    def _server_of(
        self, given: Server | str | Callable[[], Server | str] | None
    ) -> Server | None:
        """Return the server of the option or setting; call it if it is a function."""
        try:
            return (
                None
                if given is None
                else server_of(given() if callable(given) else given)
            )
        except ConfigError as error:
            error.args = (f"{self._named_by}: {error.message}",)
            raise

    def _name_server(self, error: SendError) -> None:
        """Add the host, and the setting that named it, to the hint."""
        how = f"{self.host}, by {self._named_by}"
        if self._named_by == "EMAIL_HOST" and not settings.is_overridden("EMAIL_HOST"):
            how = f"{self.host}, as no server is set: set SMTPSEND_SERVER or EMAIL_HOST"
        error.hint = f"{error.hint}; the server is {how}".lstrip("; ")

    def open(self) -> bool | None:
        """Connect, verify and log in.

        Returns:
            True if a connection was made, False if one was open; None if it failed and
            `fail_silently` is set.

        Raises:
            SendError: no connection was made, or the login failed.
        """
        if self.connection is not None:
            return False
        try:
            client = Client(self._target(), max_connections=1, on_outcome=self._note)
            client.check(timeout=self.timeout)
        except SendError as error:
            if self.server is None:
                name_settings(error, use_ssl=self.use_ssl, use_tls=self.use_tls)
            if not isinstance(error, ConfigError):
                self._name_server(error)
            if not self.fail_silently:
                raise
            _log(logging.ERROR, "mail not sent, silenced by fail_silently: %s", error)
            return None
        self.connection = client
        return True

    def close(self) -> None:
        """Close the connection, if there is one."""
        client, self.connection = self.connection, None
        if client is not None:
            client.close()

    def send_messages(self, email_messages: Iterable[Any]) -> int:
        """Send messages over one connection, by `Client.send_many`.

        Without `fail_silently`, the first failure is raised. The messages that were in
        flight at that time are finished, and get their outcome; no other is started, and
        those that were read already get a temporary `ConnectError`.

        Returns:
            How many messages were sent.

        Raises:
            SendError: a message failed, or no connection was made.
        """
        messages = [message for message in email_messages or () if message.recipients()]
        if not messages:
            return 0
        with self._lock:
            if self._sending:
                return self._send_within(messages)
            new = self.open()
            if self.connection is None or new is None:
                return 0
            self._sending = True
            try:
                return self._send_all(self.connection, messages)
            finally:
                self._sending = False
                if new:
                    self.close()

    def _send_within(self, messages: list[Any]) -> int:
        """Send over a new connection, for a receiver of `mail_outcome`.

        The open connection is in use while the receiver runs.
        """
        outer, self.connection, self._sending = self.connection, None, False
        try:
            return self.send_messages(messages)
        finally:
            self.connection, self._sending = outer, True

    def _send_all(self, client: Client, messages: list[Any]) -> int:
        self._known = {}
        sent, published = 0, set[int]()
        sending: Any = client.send_many(
            Items(messages, self._item),
            require_all=self.require_all,
            timeout=self.timeout,
        )
        try:
            for outcome in sending:
                published.add(outcome.index)
                sent += self._conclude(messages[outcome.index], outcome)
        finally:
            sending.close()  # finishes the messages in flight
            known, self._known = self._known, {}
            for index in sorted(known.keys() - published):
                outcome = known[index]
                self._publish(messages[index], outcome.receipt, outcome.error)
        return sent

    def _item(self, message: Any) -> tuple[Message | bytes, str, list[str], Any]:
        """Make an item for `send_many`; an unusable message ends the batch."""
        try:
            recipients = [str(address) for address in message.recipients()]
            delivery = getattr(message, "smtpsend_delivery", None)
            return built(message), str(message.from_email), recipients, delivery
        except ConfigError as error:
            self._publish(message, None, error)
            raise

    def _conclude(self, message: Any, outcome: Outcome) -> bool:
        """Publish an outcome; return whether the message was sent, or raise its error."""
        receipt, error = outcome.receipt, outcome.error
        self._publish(message, receipt, error)
        if error is not None:
            if not self.fail_silently or isinstance(error, ConfigError):
                raise error
            unknown = isinstance(error, DeliveryUnknown)
            what = "unknown whether sent" if unknown else "not sent"
            _log(logging.ERROR, "mail %s, silenced by fail_silently: %s", what, error)
            return False
        for address, reply in (receipt.refused if receipt else {}).items():
            identity = receipt.message_id if receipt else None
            _log(logging.WARNING, "refused: %s in %s: %s", address, identity, reply)
        return True

    def _note(self, outcome: Outcome) -> None:
        """Keep an outcome until it is published; runs on the background thread."""
        self._known[outcome.index] = outcome

    def _publish(
        self, message: Any, receipt: Receipt | None, error: SendError | None
    ) -> None:
        message.smtpsend_receipt, message.smtpsend_error = receipt, error
        mail_outcome.send_robust(
            type(self), message=message, receipt=receipt, error=error
        )

    @hides_arguments
    def _target(self) -> Server:
        """Make the server from the present settings."""
        if self.server is not None:
            username, password = self._login
            if username and password:
                return replace(self.server, auth=Password(username, password))
            return self.server
        auth = None
        if self.username or self.password:
            if not (self.username and self.password):
                # Else the message would be sent without a login.
                missing = "EMAIL_HOST_PASSWORD" if self.username else "EMAIL_HOST_USER"
                raise ConfigError(
                    "neither the user name nor the password can be empty",
                    hint=f"{missing}, or the option of the mailer, is empty: set it, or "
                    "neither of the two",
                )
            auth = Password(self.username, self.password)
        methods = self._methods(login=auth is not None)
        policy = Policy(methods=methods)
        context = None if methods[0].security == "plaintext" else self._context()
        return Server(self.host, auth, policy=policy, ssl_context=context)

    def _methods(self, *, login: bool) -> tuple[Method, ...]:
        port = self.port or _NOT_SET
        if self.alias is not None and self._port is None:
            port = _NOT_SET  # with an alias, Django sets its own default port
        if self.use_ssl:
            return (Method(465 if port == _NOT_SET else port, "implicit"),)
        if not self.use_tls and not login:
            return (Method(port, "plaintext"),)
        if port == _NOT_SET:
            return DEFAULT_METHODS
        return (Method(port, usual_security(port)),)

    def _context(self) -> ssl.SSLContext | None:
        """Make a context with the client's certificate; None if there is no certificate.

        It verifies as the library's own contexts do; the CAs are those of the system, as
        `ssl.create_default_context()` finds them.
        """
        if not self.ssl_certfile and not self.ssl_keyfile:
            return None
        context = verifying(ssl.create_default_context())
        try:
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except (OSError, TypeError, ValueError) as error:
            raise_if_short(error, "the client's certificate cannot be read")
            why = getattr(error, "strerror", None) or "it is not usable"
            raise ConfigError(f"the client's certificate cannot be read: {why}") from None
        return context


_logging = threading.local()


def _log(level: int, text: str, *facts: object) -> None:
    """Log, unless this thread is already logging.

    A handler that mails the record by this backend would otherwise never end.
    """
    if getattr(_logging, "now", False):
        return
    _logging.now = True
    try:
        with contextlib.suppress(Exception):
            log.log(level, text, *facts)
    finally:
        _logging.now = False
