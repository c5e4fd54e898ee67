"""The verbs: locate, protect, audit, compare."""

from membrane.verbs.audit import audit, estimate
from membrane.verbs.audit_model import audit_model
from membrane.verbs.comparison import Comparison, Method, Range, Search, Setting, Tuned, compare
from membrane.verbs.estimate import Estimate
from membrane.verbs.locate import locate
from membrane.verbs.one_run import OneRun, audit_one_run
from membrane.verbs.outcome import Audit
from membrane.verbs.partial import AuditStopped
from membrane.verbs.protect import protect
from membrane.verbs.refit import Refitted, refit
from membrane.verbs.sizes import Sizes

__all__ = [
    "Audit",
    "AuditStopped",
    "Comparison",
    "Estimate",
    "Method",
    "OneRun",
    "Range",
    "Refitted",
    "Search",
    "Setting",
    "Sizes",
    "Tuned",
    "audit",
    "audit_model",
    "audit_one_run",
    "compare",
    "estimate",
    "locate",
    "protect",
    "refit",
]
