"""White-box attack: a network learns from references' gradients, inner outputs, answers and losses who was a member.

Source: Nasr, Shokri and Houmansadr 2019, "Comprehensive Privacy Analysis of Deep Learning: Stand-alone and Federated
Learning under Passive and Active White-box Inference Attacks", arXiv:1812.00910, the passive attack on a stand-alone
model; layers of 256, 128 and 64 units as in their encoder. Where we differ: known members are those of reference
models, where theirs are some of the target's own; each region gives three numbers (norm of the gradient by its weights,
the label's log-odds in its output, size of its output), where they feed whole gradients and activations through
convolutions and dense layers of their own; answers come as the six signals, so the label is in what is read of it and
its one-hot code is left out; inputs are standardized, and the loss is cross-entropy on log-odds (theirs: squared error
on probabilities).

The inverse-Hessian attack of Suri et al. 2024, arXiv:2406.11544, is left out: its score needs the remaining training
set of the target, learning rate and momentum as they were, and an exact or iterated inverse of the loss's Hessian with
a damping that the sources at hand do not agree upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from membrane.attacks.learned import Learned
from membrane.core.values import SIGNAL_KINDS, Floats, Signals
from membrane.readings import Gradients, Reading, RegionOutputs, Reveals
from membrane.readings.gradients import log_norms


@dataclass(frozen=True)
class WhiteBox(Learned):
    """Log-odds of membership that a network, trained on what the references show inside, gives to the target.

    Examples are not compared with themselves under other models: easy ones pass for members, as in the paper.
    """

    name: ClassVar[str] = "white_box"
    threat_model: ClassVar[Reveals] = "weights"
    source: ClassVar[str] = "Nasr et al. 2019, arXiv:1812.00910 (passive), on numbers by region"
    signals: ClassVar[tuple[str, ...]] = SIGNAL_KINDS
    min_population: ClassVar[int] = RegionOutputs.min_population

    hidden: tuple[int, ...] = (256, 128, 64)
    steps: int = 1000
    lr: float = 0.001

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Gradients(), RegionOutputs())

    def inputs(self, signals: Signals) -> Floats:
        """(..., N, 6 + 1 + 3 regions): signals averaged over queries, logs of gradients' norms, outputs of regions."""
        answers = np.stack([signals[kind].mean(axis=-1) for kind in SIGNAL_KINDS], axis=-1)
        norms = log_norms(signals[Gradients().key])
        inputs: Floats = np.concatenate([answers, norms, signals[RegionOutputs().key]], axis=-1, dtype=np.float64)
        return inputs
