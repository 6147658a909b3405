"""Read a certificate in DER for display: names, issuer, dates, fingerprint.

The standard library shows a certificate only after it was verified, but people need to
see the one that was refused. So this module parses it (RFC 5280 section 4.1). The result
is only shown: no decision about trust depends on it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta

from smtpsend._values import dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate.

    Attributes:
        names: the host names and IP addresses in subjectAltName; a common name does not
            count (RFC 9525 section 2).
        subject: the name of the holder, for display.
        issuer: the name of the CA that issued it, for display.
        not_before: the first time at which it is valid.
        not_after: the last time at which it is valid.
        days_left: whole days until `not_after`; negative if that is past.
        fingerprint: the SHA-256, in the form for ``Server(fingerprint=...)``.
        verified: True if the certificate was accepted, False if it was refused.
    """

    names: tuple[str, ...]
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    days_left: int
    fingerprint: str
    verified: bool

    @property
    def begun(self) -> bool:
        """Whether it was valid already when it was read, to the day."""
        return self.not_before <= self.not_after - timedelta(days=self.days_left)

    @property
    def self_signed(self) -> bool:
        """Whether the subject is its own issuer."""
        return self.subject == self.issuer


_SAN = bytes.fromhex("551d11")
_COMMON_NAME = bytes.fromhex("550403")
_SHOWN = (_COMMON_NAME, bytes.fromhex("55040a"), bytes.fromhex("55040b"))
_OCTETS, _OID, _UTC_TIME, _BMP_STRING = 0x04, 0x06, 0x17, 0x1E
_VERSION, _EXTENSIONS, _DNS, _IP = 0xA0, 0xA3, 0x82, 0x87
_MOST_NAMES = 100
_LONGEST = 255

_Item = tuple[int, bytes]


def read_certificate(der: bytes, now: datetime, *, verified: bool) -> Certificate | None:
    """Read a certificate; return None if it cannot be parsed.

    Args:
        der: the certificate in DER.
        now: the time to count `days_left` from, with a time zone.
        verified: whether it was accepted.
    """
    try:
        tbs = _items(_items(_items(der)[0][1])[0][1])
        if tbs[0][0] == _VERSION:
            tbs = tbs[1:]
        _, _, issuer, validity, subject = (value for _, value in tbs[:5])
        begin, end = (_time(item) for item in _items(validity))
        names = _names(tbs)
        whole = der[: len(der) - len(_rest(der))]
        by, to = _who(issuer), _who(subject)
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
        return None
    return Certificate(
        names=names,
        subject=to,
        issuer=by,
        not_before=begin,
        not_after=end,
        days_left=(end - now).days,
        fingerprint="sha256:" + hashlib.sha256(whole).hexdigest(),
        verified=verified,
    )


# The hash function of each signature algorithm (RFC 3279, RFC 4055, RFC 5758).
_SIGNATURE_HASHES = {
    "2a864886f70d010104": "md5",
    "2a864886f70d010105": "sha1",
    "2a864886f70d01010e": "sha224",
    "2a864886f70d01010b": "sha256",
    "2a864886f70d01010c": "sha384",
    "2a864886f70d01010d": "sha512",
    "2a8648ce3d0401": "sha1",
    "2a8648ce3d040301": "sha224",
    "2a8648ce3d040302": "sha256",
    "2a8648ce3d040303": "sha384",
    "2a8648ce3d040304": "sha512",
}
_RSASSA_PSS = "2a864886f70d01010a"
_HASHES = {
    "608648016503040204": "sha224",
    "608648016503040201": "sha256",
    "608648016503040202": "sha384",
    "608648016503040203": "sha512",
}


def signature_hash(der: bytes) -> str | None:
    """Return the hash function with which a certificate was signed, as hashlib names it.

    None if the signature algorithm has no single one, as Ed25519, or is not known.
    """
    try:
        algorithm = _items(_items(_items(der)[0][1])[1][1])
        oid = algorithm[0][1].hex()
        if oid != _RSASSA_PSS:
            return _SIGNATURE_HASHES.get(oid)
        # RFC 4055 section 3.1: the hash is the parameter [0], and SHA-1 by default.
        for tag, value in _items(algorithm[1][1]):
            if tag == _VERSION:
                return _HASHES.get(_items(_items(value)[0][1])[0][1].hex())
    except (ValueError, IndexError):
        return None
    return "sha1"


def _read(data: bytes) -> tuple[int, bytes, bytes]:
    """Split data into the tag and value of its first item, and the rest (X.690, 8.1)."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    end = start + length
    if len(data) < end:
        raise ValueError("cut off")
    return tag, data[start:end], data[end:]


def _rest(data: bytes) -> bytes:
    return _read(data)[2]


def _items(data: bytes) -> list[_Item]:
    found = []
    while data:
        tag, value, data = _read(data)
        found.append((tag, value))
    return found


def _time(item: _Item) -> datetime:
    tag, value = item
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        # Years 50 to 99 are 1950 to 1999 (RFC 5280 section 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _who(name: bytes) -> str:
    """Show a distinguished name: the common name, then the organisation."""
    parts: dict[bytes, str] = {}
    for _, group in _items(name):
        for _, pair in _items(group):
            (_, kind), (tag, value) = _items(pair)[:2]
            charset = "utf-16-be" if tag == _BMP_STRING else "utf-8"
            parts.setdefault(kind, _clean(value.decode(charset, "replace")))
    found = [parts[kind] for kind in _SHOWN if parts.get(kind)]
    return ", ".join(dict.fromkeys(found)) or "(no name)"


def _names(tbs: list[_Item]) -> tuple[str, ...]:
    for tag, value in tbs[6:]:
        if tag != _EXTENSIONS:
            continue
        for _, extension in _items(_items(value)[0][1]):
            parts = _items(extension)
            if parts[0] == (_OID, _SAN) and parts[-1][0] == _OCTETS:
                return _alternatives(_items(_items(parts[-1][1])[0][1]))
    return ()


def _alternatives(items: list[_Item]) -> tuple[str, ...]:
    names = []
    for tag, value in items[:_MOST_NAMES]:
        if tag == _DNS:
            names.append(_clean(value.decode("ascii", "replace")))
        elif tag == _IP:
            names.append(str(ipaddress.ip_address(value)))
    return tuple(names)


def _clean(text: str) -> str:
    """Make text of a certificate safe to print: an attacker may have written it."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text[:_LONGEST]
