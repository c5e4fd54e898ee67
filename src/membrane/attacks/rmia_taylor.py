"""RMIA as in its paper's experiments: SM-Taylor-softmax probabilities of 18 queries, and a majority of them.

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", arXiv:2312.03262, offline variant,
with the authors' settings for CIFAR-10: gamma 2, a 0.3, temperature 2, margin 0.6, four terms, mirror images in 3 x 3
shifts. (CIFAR-100: a 0.6, temperature 1. Purchase-100: a 0.2, plain softmax.) Where we differ: P is kept positive, see
the reading 'taylor_softmax'; ties as in the attack 'rmia_vote'; their online variant trims 20 % off each side of the
mean over references, and ours (base 'rmia') takes plain means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from membrane.attacks.attack import Attack
from membrane.attacks.on_reading import OnReading
from membrane.attacks.rmia_vote import VotingRMIA
from membrane.core.values import Floats
from membrane.data import Queries
from membrane.readings import Reading, TaylorSoftmax


@dataclass(frozen=True)
class TaylorRMIA(OnReading):
    """Share of the population that x beats in most queries, by probabilities that do not saturate.

    Cost: 18 queries by default, whatever the audit's queries are; nothing is trained. Images only, but for "identity".

    Args:
        base: Any attack on losses: 'rmia_vote' as in the paper, or 'rmia', 'base', 'loss' and so on.
        terms: Of the Taylor series, 2 to 20.
        temperature: That divides logits, above 0.
        margin: That the label's logit must be above the others' by, after that; 0 or more.
        queries_by: Ways in which each image is asked for: "identity", "mirror" or "shifts". Models that train without
            such augmentation tell most when they are asked for the image as it is.

    Raises:
        SettingError: If ``base`` reads something else than losses, or a setting is outside its range.
    """

    name: ClassVar[str] = "rmia_taylor"
    source: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv:2312.03262 (offline, SM-Taylor-softmax, 18 queries)"
    by_default: ClassVar[bool] = False

    base: Attack = field(default_factory=lambda: VotingRMIA(gamma=2.0, a=0.3))
    terms: int = 4
    temperature: float = 2.0
    margin: float = 0.6
    queries_by: Queries = "shifts"

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.reading  # which refuses settings that do not fit

    @property
    def reading(self) -> Reading:
        return TaylorSoftmax(self.terms, self.temperature, self.margin, self.queries_by)

    @property
    def kinds_read(self) -> tuple[str, ...]:
        return ("loss",)

    def found(self, read: Floats) -> dict[str, Floats]:
        return {"loss": read}
