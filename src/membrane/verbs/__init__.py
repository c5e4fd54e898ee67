"""The verbs: locate, protect, audit."""

from membrane.verbs.audit import audit, estimate
from membrane.verbs.audit_model import audit_model
from membrane.verbs.estimate import Estimate
from membrane.verbs.locate import locate
from membrane.verbs.one_run import OneRun, audit_one_run
from membrane.verbs.outcome import Audit
from membrane.verbs.partial import AuditStopped
from membrane.verbs.protect import protect

__all__ = [
    "Audit",
    "AuditStopped",
    "Estimate",
    "OneRun",
    "audit",
    "audit_model",
    "audit_one_run",
    "estimate",
    "locate",
    "protect",
]
