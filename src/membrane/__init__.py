"""membrane: locate membership risk in neural networks, protect models against it, audit what they leak.

Four verbs: ``locate`` which regions of a network carry risk and which carry generalization, ``protect`` a model,
``audit`` what a training pipeline leaks, ``compare`` defenses. Everything else is in the rooms below.
"""

from membrane.core.errors import MembraneError
from membrane.core.version import __version__
from membrane.data import (
    Digits,
    Examples,
    ImageFolder,
    Parquet,
    Splits,
    Table,
    from_arrays,
    from_dataset,
    from_huggingface,
)
from membrane.models import Answers, from_onnx
from membrane.pptp import PPTP, Budget, OutOfFoldRefit, Plan, Protected, RiskMap, Stretch
from membrane.regions import Trail, load_weights
from membrane.training import Recipe
from membrane.verbs import (
    Audit,
    AuditStopped,
    Comparison,
    Estimate,
    Method,
    OneRun,
    Range,
    Refitted,
    Search,
    Setting,
    Sizes,
    Tuned,
    audit,
    audit_model,
    audit_one_run,
    compare,
    estimate,
    locate,
    protect,
    refit,
)

__all__ = [
    "PPTP",
    "Answers",
    "Audit",
    "AuditStopped",
    "Budget",
    "Comparison",
    "Digits",
    "Estimate",
    "Examples",
    "ImageFolder",
    "MembraneError",
    "Method",
    "OneRun",
    "OutOfFoldRefit",
    "Parquet",
    "Plan",
    "Protected",
    "Range",
    "Recipe",
    "Refitted",
    "RiskMap",
    "Search",
    "Setting",
    "Sizes",
    "Splits",
    "Stretch",
    "Table",
    "Trail",
    "Tuned",
    "__version__",
    "audit",
    "audit_model",
    "audit_one_run",
    "compare",
    "estimate",
    "from_arrays",
    "from_dataset",
    "from_huggingface",
    "from_onnx",
    "load_weights",
    "locate",
    "protect",
    "refit",
]
