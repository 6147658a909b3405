"""`Server`: a submission server with credentials, policy, and the CAs to trust."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from smtpsend._model.address.argument import AddressLike, mailbox_of
from smtpsend._model.policy.policy import DEFAULT_METHODS, Method, Policy
from smtpsend._model.server.credentials import Auth, External, OAuth2, Password, Provider
from smtpsend._model.server.host import (
    check_ehlo_name,
    check_fingerprint,
    check_host,
    check_private,
    check_source_address,
    check_tls_name,
    literal,
)
from smtpsend._model.shortage import importing
from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend._values import dataclass, field
from smtpsend.errors import ConfigError


if TYPE_CHECKING:
    from smtpsend._model.server.proxy import Proxy


@hides_fields
@dataclass(frozen=True, slots=True)
class Server:
    """A submission server (RFC 6409): its host, our credentials, and how to reach it.

    Args:
        host: a host name or an IP address; the certificate must be for it, unless
            `tls_name` is given.
        auth: `Password`, `OAuth2` or `External`; a pair ``(username, password)`` is a
            `Password`.
            None, the default, is for a server without login.
        policy: the methods, their order, and the time limits.
        cafile: a PEM file of the CAs to trust, in place of certifi's bundle.
        ssl_context: a context of your own, in place of `cafile`. It must verify
            (``CERT_REQUIRED``, ``check_hostname``), and a connection with TLS older than
            1.2 is refused; `ssl.create_default_context()` will do.
            Anonymous and NULL ciphers are refused.
        ehlo_name: the name of the client in EHLO: a domain or an address literal. By
            default the machine's name if it is a domain, else its address.
        fingerprint: ``"sha256:..."`` of the server's certificate, in hexadecimal. Exactly
            this certificate is trusted, whatever its issuer, names and dates.
        redirect_to: one address for every message in place of its recipients, for
            staging. The recipients are named in a header X-Original-Recipients.
        proxy: the URL of a proxy that connects to the server: ``socks5://host:1080``
            (RFC 1928) or ``http://host:3128`` (CONNECT, RFC 9110 section 9.3.6), with
            ``user:password@`` before the host if it wants a login, percent-encoded. The
            proxy looks up the host name of the server; its own is looked up here. TLS
            begins at the mail server, so the proxy reads neither the credentials nor
            the message. It needs the extra ``proxy``. No text shows its login. None, the
            default, is for a direct connection: no other variable of the environment
            than ``SMTP_PROXY`` is read, and that by `from_env` alone.
        source_address: the IP address of this machine that connections come from, or a
            pair ``(address, port)`` as in smtplib; the port is 0 for any, which is the
            default. Addresses of the server of another family (IPv4, IPv6) are skipped.
            With a proxy, it is for the connection to the proxy.
        tls_name: the name that the certificate must be for, and the name in the TLS
            handshake (SNI), where it is not `host`: for a tunnel, a private endpoint or
            an IP address. All else is verified as ever.

    Raises:
        ConfigError: an argument cannot be used, or two contradict each other.
    """

    host: str
    auth: Auth | None = None
    policy: Policy = field(default_factory=Policy, kw_only=True)
    cafile: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True)
    ehlo_name: str | None = field(default=None, kw_only=True)
    fingerprint: str | None = field(default=None, kw_only=True)
    redirect_to: str | None = field(default=None, kw_only=True)
    proxy: Proxy | None = field(default=None, kw_only=True)
    source_address: tuple[str, int] | None = field(default=None, kw_only=True)
    tls_name: str | None = field(default=None, kw_only=True)

    if TYPE_CHECKING:  # a pair reads back as a `Password`, a URL as a `Proxy`

        def __init__(
            self,
            host: str,
            auth: Auth | tuple[str, str | Provider] | None = None,
            *,
            policy: Policy = ...,
            cafile: str | os.PathLike[str] | None = None,
            ssl_context: ssl.SSLContext | None = None,
            ehlo_name: str | None = None,
            fingerprint: str | None = None,
            redirect_to: AddressLike | None = None,
            proxy: str | Proxy | None = None,
            source_address: str | tuple[str, int] | None = None,
            tls_name: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host))
        object.__setattr__(self, "auth", _credentials(self.auth))
        if not isinstance(self.policy, Policy):
            raise ConfigError("policy must be a Policy")
        self._check_trust()
        if self.ehlo_name is not None:
            object.__setattr__(self, "ehlo_name", check_ehlo_name(self.ehlo_name))
        if self.redirect_to is not None:
            object.__setattr__(self, "redirect_to", mailbox_of(self.redirect_to).address)
        self._check_network()
        if self.plaintext:
            self._check_sink()

    @property
    def plaintext(self) -> bool:
        """Whether the server is a development sink, without TLS."""
        return self.policy.methods[0].security == "plaintext"

    def _check_trust(self) -> None:
        if self.cafile is not None:
            if not isinstance(self.cafile, str | os.PathLike):
                raise ConfigError("cafile must be the path of a PEM file")
            object.__setattr__(self, "cafile", os.fspath(self.cafile))
            if not isinstance(self.cafile, str) or "\0" in self.cafile or not self.cafile:
                raise ConfigError("cafile must be the path of a PEM file, as text")
        if not isinstance(self.ssl_context, ssl.SSLContext | None):
            raise ConfigError("ssl_context must be an ssl.SSLContext")
        if isinstance(self.auth, External) and self.ssl_context is None:
            raise ConfigError(
                "External() needs ssl_context=..., with the certificate of the client "
                "in it (context.load_cert_chain)"
            )
        if self.fingerprint is not None:
            object.__setattr__(self, "fingerprint", check_fingerprint(self.fingerprint))
        given = (self.cafile, self.ssl_context, self.fingerprint)
        if sum(trust is not None for trust in given) > 1:
            raise ConfigError("give only one of cafile, ssl_context and fingerprint")

    def _check_network(self) -> None:
        if self.proxy is not None:
            # Imported only where it is used, as most programs have no proxy.
            with importing():
                from smtpsend._model.server.proxy import proxy_of

            object.__setattr__(self, "proxy", proxy_of(self.proxy))
        source = check_source_address(self.source_address)
        object.__setattr__(self, "source_address", source)
        if source is not None and source[1] and len(self.policy.methods) > 1:
            raise ConfigError(
                "a port in source_address needs a policy of one method, since several "
                "connections cannot come from one port at the same time",
                hint="give port 0, for any port, or Policy(methods=...) with one method",
            )
        if self.tls_name is not None:
            object.__setattr__(self, "tls_name", check_tls_name(self.tls_name))

    def _check_sink(self) -> None:
        if self.auth is not None:
            raise ConfigError("credentials are never sent by a plaintext method")
        given = (self.cafile, self.ssl_context, self.fingerprint)
        if any(trust is not None for trust in given):
            raise ConfigError(
                "cafile, ssl_context and fingerprint mean nothing beside a plaintext "
                "method, which has no TLS: leave them out, or use another method"
            )
        if self.tls_name is not None:
            raise ConfigError("tls_name means nothing beside a plaintext method")
        if self.proxy is not None:
            raise ConfigError(
                "a plaintext method cannot go through a proxy, since nothing here shows "
                "that the proxy connects to a private address"
            )
        if literal(self.host):
            check_private(self.host)

    @classmethod
    @hides_arguments
    def from_url(cls, url: str, **options: object) -> Server:
        """Make a server from a URL.

        ``smtp://user:password@host`` stands for all methods of the policy; with a port it
        stands for one method (465, 2465, 8465, 443: implicit TLS, any other: STARTTLS).
        ``smtps://host[:port]`` stands for implicit TLS (465 by default). TLS is always
        required, but for a development sink: ``smtp://localhost:1025?security=plaintext``
        (see `Method`). In user and password a ``%`` and each of ``/ ? #`` are
        percent-encoded, in the user a colon, too; the last ``@`` ends them.

        Args:
            url: the URL. No error ever quotes it.
            options: the keyword arguments of `Server`.

        Raises:
            ConfigError: the URL is malformed, or has a path, a fragment, or another query
                than ``security=`` with a security of `Method`.
        """
        # Imported here, so that a program without a URL does not pay for it.
        with importing():
            from smtpsend._model.server.url import auth_of, method_of, split
        parts = split(url)
        auth, method = auth_of(parts), method_of(parts)
        _use_method(options, method)
        return cls(parts.hostname or "", auth, **options)  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    @hides_arguments
    def at(
        cls,
        provider: str,
        auth: Auth | tuple[str, str] | None = None,
        *,
        region: str | None = None,
        **options: object,
    ) -> Server:
        """Make a server for a mail provider that the library knows.

        The policy tries all ports that the provider documents, except 25, each with its
        kind of TLS. So a host that blocks the usual ports may still be left by another
        one. Methods that you give in ``policy`` are kept.

        Args:
            provider: its name, such as ``"ses"``; ``smtpsend providers`` lists them.
            auth: as for `Server`.
            region: the region of the account, such as ``"eu-west-1"``, where the provider
                has a host in each.
            options: the keyword arguments of `Server`.

        Raises:
            ConfigError: the provider or its region is not known, or an argument cannot be
                used.
        """
        with importing():
            from smtpsend._model.server.providers import provider_named

            found = provider_named(provider)  # reads the file of the providers
        policy = options.get("policy", Policy())
        if isinstance(policy, Policy) and policy.methods == DEFAULT_METHODS:
            options["policy"] = replace(policy, methods=found.methods)
        return cls(found.host_in(region), auth, **options)  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    @hides_arguments
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: object
    ) -> Server:
        """Make a server from environment variables.

        They are ``SMTP_URL`` (see `from_url`), or ``SMTP_HOST`` with ``SMTP_USERNAME``
        and ``SMTP_PASSWORD`` or ``SMTP_PASSWORD_FILE`` (a file that holds the password in
        UTF-8; a byte order mark and one line end at its end are dropped, and its
        permissions are not checked; it is read again for each new connection). An empty
        variable counts as missing.
        ``SMTP_PORT`` beside ``SMTP_HOST`` stands for one method in place of those of
        the policy: implicit TLS on 465 (also 2465, 8465 and 443), STARTTLS on any other.
        ``SMTP_SECURITY`` names the security: ``starttls`` (on 587), ``implicit`` (on
        465), or ``plaintext`` (on 1025) for a development sink. ``SMTP_PROVIDER``, with
        ``SMTP_REGION`` where the provider needs it, takes the place of ``SMTP_HOST`` (see
        `at`); ``SMTP_USERNAME`` may be left out if the provider has one for all accounts.
        ``SMTP_OAUTH_*`` stand for a login by a token of `smtpsend.oauth`, in place of a
        password. ``SMTP_PROXY`` may stand beside all of them: the URL of a proxy (see
        `Server`). ``HTTPS_PROXY`` and ``ALL_PROXY``, which are for the web, are not read.

        A variable such as ``SMTP_USER`` or ``SMTP_SERVER``, which other programs read,
        is an error that names the right one. Others that begin with ``SMTP_`` are named
        in a warning in the log.

        Args:
            environ: the variables, by default ``os.environ``.
            options: the keyword arguments of `Server`.

        Raises:
            ConfigError: no server is set, the variables contradict each other, or one has
                the name that another program reads.
            ConnectError: no file descriptor is left to read the password file; temporary.
        """
        # A process that gives the server as arguments need not import these.
        with importing():
            from smtpsend._model.server.environment import (
                auth_from_env,
                hint_without_server,
                method_from_env,
                proxy_from_env,
                variables,
                wants_tokens,
            )

        env = os.environ if environ is None else environ
        if wants_tokens(env):
            with importing():
                from smtpsend._model.server.oauth_environment import tokens_from_env

            rest, login = tokens_from_env(env)
            server = cls.from_env(rest, **options)
            return replace(server, auth=login(server.host))
        found = variables(env)
        if (proxy := found.pop("PROXY", None)) and "proxy" not in options:
            options["proxy"] = proxy_from_env(proxy)
        if url := found.pop("URL", None):
            if found:
                extra = ", ".join(f"SMTP_{name}" for name in found)
                raise ConfigError(
                    f"SMTP_URL cannot go with {extra}: unset one or the other"
                )
            return cls.from_url(url, **options)
        if "PROVIDER" in found:
            return cls._from_provider(found, options)
        if "REGION" in found:
            raise ConfigError("SMTP_REGION goes with SMTP_PROVIDER only")
        if "HOST" not in found:
            raise ConfigError(
                "none of SMTP_URL, SMTP_HOST and SMTP_PROVIDER is set",
                hint=hint_without_server(env),
            )
        auth = auth_from_env(found)
        _use_method(options, method_from_env(found))
        return cls(found["HOST"], auth, **options)  # type: ignore[arg-type]  # checked by __post_init__

    @classmethod
    @hides_arguments
    def _from_provider(cls, found: dict[str, str], options: dict[str, object]) -> Server:
        with importing():
            from smtpsend._model.server.environment import auth_from_env
            from smtpsend._model.server.providers import provider_named

        for name in ("HOST", "PORT", "SECURITY"):
            if name in found:
                raise ConfigError(
                    f"SMTP_PROVIDER cannot go with SMTP_{name}: unset one or the other"
                )
        provider = provider_named(found["PROVIDER"])
        if provider.username and ("PASSWORD" in found or "PASSWORD_FILE" in found):
            found.setdefault("USERNAME", provider.username)
        auth = auth_from_env(found)
        return cls.at(provider.key, auth, region=found.get("REGION"), **options)


def _use_method(options: dict[str, object], method: Method | None) -> None:
    """Let `method`, if there is one, take the place of the methods of the policy."""
    policy = options.get("policy", Policy())
    if method is not None and isinstance(policy, Policy):
        options["policy"] = replace(policy, methods=(method,))


def _credentials(auth: object) -> Auth | None:
    if isinstance(auth, tuple | list) and len(auth) == 2:
        return Password(*auth)
    if auth is None or isinstance(auth, Password | OAuth2 | External):
        return auth
    # As in `smtplib.SMTP(host, port)`.
    a_port = isinstance(auth, int) and not isinstance(auth, bool)
    hint = (
        "the port goes to the policy: policy=Policy(methods=(Method(587, 'starttls'),))"
    )
    raise ConfigError(
        "auth must be a pair (username, password), Password(username, password), "
        "OAuth2(username, token), External(), or None",
        hint=hint if a_port else "",
    )


@hides_arguments
def server_of(server: object) -> Server:
    """Convert a host name or a URL to a `Server`; return a `Server` as it is.

    Raises:
        ConfigError: `server` is none of these.
    """
    if isinstance(server, Server):
        return server
    if not isinstance(server, str):
        raise ConfigError("server must be a Server, a host name, or a URL")
    return Server.from_url(server) if "://" in server else Server(server)
