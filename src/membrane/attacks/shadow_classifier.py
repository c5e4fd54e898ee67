"""Shadow classifier: a network for each class learns from answers of shadow models which of them members get.

Source: Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", arXiv:1610.05820: shadow
models' probability vectors, labelled in and out, are the training set of one attack network for each class, with one
hidden layer of 64 ReLUs. Where we differ: shadow models are the references, of whose training sets each holds half of
the audited examples; one output gives the log-odds where theirs are two; inputs are brought to mean 0 and standard
deviation 1 within the class; the optimizer (not given there) is Adam, for a fixed number of batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from membrane.attacks.learned import Learned
from membrane.core.errors import SettingError
from membrane.core.values import Floats, Signals
from membrane.readings import Posteriors, Reading

Read = Literal["probabilities", "log_probabilities"]


@dataclass(frozen=True)
class OnPosteriors(Learned):
    """Base class of attacks that learn from posteriors.

    Args:
        read: "probabilities" as in the papers, or "log_probabilities", which tell sure answers apart.

    Raises:
        SettingError: If it is neither.
    """

    read: Read = "probabilities"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read not in get_args(Read):
            raise SettingError(f"read is {self.read!r}; it must be one of {', '.join(get_args(Read))}.")

    def inputs(self, signals: Signals) -> Floats:
        log_p = signals[self.readings[0].key]
        return np.exp(log_p) if self.read == "probabilities" else log_p


@dataclass(frozen=True)
class ShadowClassifier(OnPosteriors):
    """Log-odds of membership that a network for x's class, trained on the references' answers, gives to the target's.

    Cost: for every pair of targets, one small network for each class.
    """

    name: ClassVar[str] = "shadow_classifier"
    source: ClassVar[str] = "Shokri et al. 2017, arXiv:1610.05820"
    per_class: ClassVar[bool] = True

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Posteriors(),)
