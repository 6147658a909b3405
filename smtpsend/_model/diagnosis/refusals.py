"""What a refusal during a transaction is about, and the remedy.

A server often refuses at another command than the one that it objects to: Postfix replies
to RCPT with what it has against the client or the sender, and others reply to the end of
the message. So the text of the reply is read before the step counts.
"""

from __future__ import annotations

import re

from smtpsend._patterns import pattern
from smtpsend.errors import Phase, Reply


__all__ = ["is_about_size", "refusal_remedy"]

# Only phrases that name the sender as what is refused: a policy against spam may mention
# a sender, too. 5.1.7 and 5.1.8 are those of RFC 3463 for a bad address of the sender.
_SENDER = pattern(
    r"\bsender (?:address |verify |domain )?(?:rejected|refused|denied|not |is not |"
    r"must |unknown)|\b(?:bad|invalid|unverified|unauthori[sz]ed) sender\b|"
    r"\bsend ?as(?:denied)?\b|\bfrom (?:address|header)\b|\bmail from\b|"
    r"\breturn[- ]path\b|\bnot owned by\b",
    re.IGNORECASE,
)
_CLIENT = pattern(
    r"\bclient host\b|\b(?:your|the|client) ip\b|\bblocked using\b|\bblack ?list|"
    r"\bblock ?list|\bdnsbl\b|\brbl\b|\breverse dns\b|\bptr\b",
    re.IGNORECASE,
)
_RELAY = pattern(r"\brelay", re.IGNORECASE)


def is_about_size(reply: Reply) -> bool:
    """Return whether a refusal is about the message size (RFC 1870; RFC 3463)."""
    if reply.enhanced is None:
        return reply.code == 552
    return reply.enhanced[1:] in (".3.4", ".2.3")


_BY_PHASE = {
    Phase.MAIL: "the reply says why; change the sender, since the same is refused again",
    Phase.RCPT: "the reply says why; correct the recipient, or leave it out",
}
_MESSAGE = "the reply says why; change the message, since the same is refused again"


def refusal_remedy(reply: Reply, phase: Phase, *, logged_in: bool) -> str:
    """Return the remedy for a permanent refusal of a sender, recipient or message.

    Args:
        reply: the refusal.
        phase: the step that it is a reply to.
        logged_in: whether credentials were given, so that the login had succeeded.
    """
    if is_about_size(reply):
        return "send a smaller message, such as a link in place of an attachment"
    if reply.code == 530 and logged_in:
        return (
            "the login succeeded, and the server wants another one: the reply says why; "
            "the account may not be allowed to send by SMTP"
        )
    if _is_about_sender(reply) and phase is not Phase.MAIL:
        return (
            "the reply says why; change the sender, since the same is refused again: "
            "most servers want the address of the account that logs in"
        )
    if _CLIENT.search(reply.text):
        return (
            "the reply says why: the server refuses this machine by its IP address, and "
            "would refuse other messages, too; ask whoever runs the server"
        )
    if logged_in and _RELAY.search(reply.text):
        return (
            "the reply says why: this server does not send mail on to that recipient for "
            "this account; check that it is the submission server of the account"
        )
    return _BY_PHASE.get(phase, _MESSAGE)


def _is_about_sender(reply: Reply) -> bool:
    if reply.enhanced is not None and reply.enhanced[1:] in (".1.7", ".1.8", ".7.60"):
        return True
    return _SENDER.search(reply.text) is not None
