"""An alias: `smtpsend.diagnose` under its first name, and the types of its report."""

from __future__ import annotations

from smtpsend._client.diagnosis.examination import diagnose as check
from smtpsend._client.diagnosis.examination import diagnose_async as check_async
from smtpsend._model.diagnosis.certificate import Certificate
from smtpsend._model.diagnosis.report import Login, MethodReport, Port25, Report, Step


__all__ = [
    "Certificate",
    "Login",
    "MethodReport",
    "Port25",
    "Report",
    "Step",
    "check",
    "check_async",
]
