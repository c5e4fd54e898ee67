"""The verbs: locate, protect, audit."""

from membrane.verbs.audit import audit
from membrane.verbs.audit_model import audit_model
from membrane.verbs.locate import locate
from membrane.verbs.outcome import Audit
from membrane.verbs.protect import protect

__all__ = ["Audit", "audit", "audit_model", "locate", "protect"]
