"""Remedies for a failed TLS handshake: a table for certificates, and one for the rest.

The hints of errors and the advice of a check use them. A row has parts of OpenSSL's
reasons, in lower case, and a sentence. The first row that fits is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtpsend._model.diagnosis.certificate import Certificate
from smtpsend._values import NamedTuple


Say = Callable[[str, Certificate | None], str]


class Cause(NamedTuple):
    """A cause of a failed handshake, and its remedy.

    Attributes:
        name: the name of the row.
        words: parts of the reasons that OpenSSL gives for this cause.
        say: makes the remedy from the host and the refused certificate, if it is known.
    """

    name: str
    words: tuple[str, ...]
    say: Say


def certificate_remedy(
    reason: str, host: str, certificate: Certificate | None, *, tls_name: bool = False
) -> str:
    """Return the remedy for a refused certificate.

    Args:
        reason: why OpenSSL refused it.
        host: the name that it must be for.
        certificate: the refused certificate, if it is known.
        tls_name: whether `host` was given as `tls_name`, and is not the host.
    """
    cause = _first(CERTIFICATE, reason)
    if tls_name and cause is not None and cause.name == "wrong-name":
        return _wrong_tls_name(host, certificate)
    return _other(host, certificate) if cause is None else cause.say(host, certificate)


def handshake_remedy(reason: str) -> str:
    """Return the remedy for a handshake that failed otherwise; "" if there is none."""
    cause = _first(HANDSHAKE, reason)
    return "" if cause is None else cause.say("", None)


def _first(table: Sequence[Cause], reason: str) -> Cause | None:
    reason = reason.lower()
    fitting = (cause for cause in table if any(word in reason for word in cause.words))
    return next(fitting, None)


def listed(words: Sequence[str]) -> str:
    """Join words as in a sentence: "a, b and c"."""
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last


# certificates


def _whose(certificate: Certificate | None) -> str:
    """Name the subject and the issuer of the certificate, to begin a sentence."""
    if certificate is None:
        return "the certificate"
    return f"the certificate of {certificate.subject}, issued by {certificate.issuer},"


def _wrong_name(host: str, certificate: Certificate | None) -> str:
    if certificate is None:
        return (
            f"the certificate is not for {host}: use a name that it covers as host"
            f"{_ON_PURPOSE}; smtpsend check shows which names it has"
        )
    names = certificate.names
    if not names:
        return (
            "the certificate is for no host name at all (a common name does not count), "
            f"not for {host}: it needs a new certificate"
        )
    return (
        f"the certificate is for {_named(certificate)}, not for {host}: use a name "
        f"that it covers as host{_of_provider(names)}{_ON_PURPOSE}"
    )


def _of_provider(names: Sequence[str]) -> str:
    """Name the host of the provider that a certificate is for, if it is known."""
    try:
        # Imported only for this error: it reads the file of the providers.
        from smtpsend._model.server.providers import provider_in

        found = provider_in(names)
    except OSError:  # no descriptor is left for that
        found = None
    return "" if found is None else f" ({found[1]} is that of {found[0].name})"


# A name that a certificate happens to have is no proof: the caller must know it.
_ON_PURPOSE = (
    "; if this host leads on purpose to a server of another name (a tunnel, a private "
    "endpoint), keep it, and give the name that you know with Server(tls_name=...)"
)


def _named(certificate: Certificate) -> str:
    names = certificate.names
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{listed(names[:4])}{more}"


def _wrong_tls_name(name: str, certificate: Certificate | None) -> str:
    if certificate is None or not certificate.names:
        return _wrong_name(name, certificate)
    return (
        f"the certificate is for {_named(certificate)}, not for {name}: what was given "
        "as tls_name is not the name of this server, or the host leads to another server"
    )


def _expired(_: str, certificate: Certificate | None) -> str:
    if certificate is not None and certificate.days_left >= 0:
        return (
            f"a CA certificate between {certificate.subject} and the CA that is trusted "
            "here has expired: whoever runs the server has to send a chain that is valid"
        )
    when = "" if certificate is None else f" on {certificate.not_after:%Y-%m-%d}"
    return (
        f"the certificate expired{when}: whoever runs the server has to renew it, unless "
        "the clock of this machine is wrong"
    )


def _not_yet(_: str, certificate: Certificate | None) -> str:
    if certificate is not None and certificate.begun:
        return (
            f"a CA certificate between {certificate.subject} and the CA that is trusted "
            "here is not valid yet: see the clock of this machine, or tell whoever runs "
            "the server"
        )
    when = (
        ""
        if certificate is None
        else f" (it begins on {certificate.not_before:%Y-%m-%d})"
    )
    return f"the certificate is not valid yet{when}: see the clock of this machine"


def _weak(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} has a key or a signature, its own or its CA's, that is "
        "too weak for the security level of OpenSSL: whoever runs the server has to "
        "replace it, with 2048 bits of RSA or more, or an elliptic curve, and SHA-256"
    )


def _constraint(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} has a name that its CA may not issue certificates for "
        "(name constraints): it has to come from another CA"
    )


def _purpose(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} is not meant for a server (extended key usage): whoever "
        "runs the server has to use one with serverAuth"
    )


def _chain(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} comes from a CA that may not issue it: one of the chain "
        "is no CA, or has more CAs below it than it may have (path length)"
    )


def _signature(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} was not signed by the CA of that name that is known "
        "here: the server or Server(cafile=...) has an older or another CA of the same "
        "name, or somebody made the certificate up"
    )


def _strict(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} fails a strict check, which ssl.create_default_context() "
        "does from Python 3.13 on and many private CAs do not pass: give the CA with "
        "Server(cafile=...) in place of ssl_context, or set context.verify_flags &= "
        "~ssl.VERIFY_X509_STRICT"
    )


def _revoked(_: str, certificate: Certificate | None) -> str:
    return f"{_whose(certificate)} was revoked: whoever runs the server has to replace it"


def _crl(*_: object) -> str:
    return (
        "ssl_context asks for revocation lists (VERIFY_CRL_CHECK), and has no current "
        "one of the CA: load it by context.load_verify_locations(...), or do not ask"
    )


def _pin(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} is not the pinned one: if it was renewed, find its "
        "fingerprint out by another way before you pin it"
    )


def _self_signed(_: str, certificate: Certificate | None) -> str:
    pin = "" if certificate is None else f' ("{certificate.fingerprint}")'
    return (
        "the certificate is signed by itself. If this is your own server, trust it by "
        f"its file with Server(cafile=...), or by its fingerprint{pin} with "
        "Server(fingerprint=...), compared with what the server itself shows"
    )


def _unknown_ca(host: str, certificate: Certificate | None) -> str:
    if certificate is not None and certificate.self_signed:
        return _self_signed(host, certificate)
    issuer = "its issuer" if certificate is None else certificate.issuer
    return (
        f"the certificate was issued by {issuer}, which is not among the CAs that are "
        "trusted here: those of certifi, or in their place those of cafile or "
        "ssl_context. If it is the CA of your organisation, give its PEM file with "
        "Server(cafile=...); if not, the server may fail to send its intermediate "
        "certificates, or somebody stands in between"
    )


def _other(_: str, certificate: Certificate | None) -> str:
    return (
        f"{_whose(certificate)} was refused; verification cannot be turned off, the "
        "server needs a better one"
    )


CERTIFICATE: tuple[Cause, ...] = (
    Cause("wrong-name", ("hostname mismatch", "ip address mismatch"), _wrong_name),
    Cause("expired", ("certificate has expired",), _expired),
    Cause("not-yet-valid", ("not yet valid",), _not_yet),
    Cause("weak-key", ("key too weak", "too small", "digest algorithm too weak"), _weak),
    Cause("name-constraint", ("subtree violation", "name constraint"), _constraint),
    Cause("purpose", ("certificate purpose",), _purpose),
    Cause(
        "chain",
        ("path length constraint", "chain too long", "invalid ca certificate"),
        _chain,
    ),
    Cause(
        "strict",
        (
            "missing authority key identifier",
            "missing subject key identifier",
            "marked critical",
            "not critical",
            "path length given",
            "path length invalid",
            "keycertsign",
            "key usage extension",
            "issuer name empty",
            "subject name empty",
            "empty subject alternative name",
            "requires at least x509v3",
            "explicit ecc parameters",
        ),
        _strict,
    ),
    Cause("signature", ("signature failure", "decrypt certificate"), _signature),
    Cause("revoked", ("certificate revoked",), _revoked),
    Cause("revocation-list", ("crl",), _crl),
    Cause("wrong-pin", ("pinned",), _pin),
    Cause(
        "unknown-ca",
        ("self-signed certificate in", "self signed certificate in"),
        _unknown_ca,
    ),
    Cause("self-signed", ("self-signed", "self signed"), _self_signed),
    Cause("unknown-ca", ("issuer", "unable to verify"), _unknown_ca),
)


# handshakes

HANDSHAKE: tuple[Cause, ...] = (
    Cause(
        "old-tls",
        ("alert protocol version", "unsupported protocol", "too low", "old version"),
        lambda *_: (
            "the server offers nothing newer than TLS 1.1, and TLS 1.2 or newer is "
            "required (RFC 8997): whoever runs it has to turn on TLS 1.2 or 1.3"
        ),
    ),
    Cause(
        "weak-dh",
        ("dh key too small",),
        lambda *_: (
            "the server's Diffie-Hellman parameters are too small: whoever runs it has "
            "to make them 2048 bits long or more, or to turn on elliptic curves (ECDHE)"
        ),
    ),
    Cause(
        "old-signature",
        ("wrong signature type", "legacy sigalg", "no suitable signature"),
        lambda *_: (
            "the server signs in a way that is too weak: whoever runs it has to give it "
            "a newer certificate, or a newer TLS library"
        ),
    ),
    Cause(
        "renegotiation",
        ("unsafe legacy renegotiation",),
        lambda *_: (
            "the server has no secure renegotiation (RFC 5746): whoever runs it has to "
            "update its TLS library"
        ),
    ),
    Cause(
        "name-unknown",
        ("unrecognized name",),
        lambda *_: "the server does not know the host name: use the name that it goes by",
    ),
    Cause(
        "nothing-shared",
        ("alert handshake failure", "insufficient security", "no ciphers available"),
        lambda *_: (
            "server and client share no cipher suite or key exchange, or the server "
            "wants a certificate of the client, which Server(ssl_context=...) can give: "
            "whoever runs the server finds in its log which it is"
        ),
    ),
)
