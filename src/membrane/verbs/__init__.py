"""The verbs: locate, protect, audit."""

from membrane.verbs.audit import Audit, audit, audit_model
from membrane.verbs.locate import locate
from membrane.verbs.protect import protect

__all__ = ["Audit", "audit", "audit_model", "locate", "protect"]
