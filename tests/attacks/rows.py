"""The table of attacks under test: settings, what the planted leak must yield, the slow formula, nonsense to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from membrane.attacks import ATTACKS, Attack
from membrane.readings import AugmentedLabels, Boundary, NoisyLabels, Posteriors, TaylorSoftmax, Trajectory
from tests.attacks import slow
from tests.attacks.slow import Slow
from tests.attacks.slow_learned import SMALL, learned

NO_SPREAD: tuple[Mapping[str, Any], ...] = (
    {"variance": "median"},
    {"min_std": 0.0},
    {"min_std": -1.0},
    {"min_std": np.nan},
    {"min_std": np.inf},
)
NO_RATIO: tuple[Mapping[str, Any], ...] = (
    {"gamma": 0.0},
    {"gamma": -1.0},
    {"gamma": np.nan},
    {"gamma": np.inf},
    {"a": -0.1},
    {"a": 1.1},
    {"a": np.nan},
)
NO_BASE: tuple[Mapping[str, Any], ...] = (
    {"base": {"name": "lira"}},
    {"base": {"name": "population"}},
    {"base": "loss"},
)


NO_PREDICTION: tuple[Mapping[str, Any], ...] = ({"predictive": "cauchy"}, *NO_SPREAD[1:])
NO_RANGE: tuple[Mapping[str, Any], ...] = (
    {"base": "lira"},
    {"drop_lowest": -0.1},
    {"drop_lowest": 1.0},
    {"drop_lowest": np.nan},
    {"drop_highest": 0.6},
)
NO_REGION: tuple[Mapping[str, Any], ...] = (
    {"of": "output"},
    {"base": "lira"},
    {"base": {"name": "loss"}},
    {"base": {"name": "gradient_norm"}},
)
NO_TRAINING: tuple[Mapping[str, Any], ...] = (
    {"hidden": (8, 0)},
    {"steps": 0},
    {"batch_size": 0},
    {"lr": 0.0},
    {"lr": np.nan},
)
NO_REVEAL: tuple[Mapping[str, Any], ...] = (
    {"base": {"name": "gradient_norm"}},
    {"epochs": 0},
    {"lr": 0.0},
    {"lr": np.nan},
)
NO_ENSEMBLE: tuple[Mapping[str, Any], ...] = (
    {"attacks": ()},
    {"attacks": ("lira",)},
    {"rule": "most"},
)


@dataclass(frozen=True)
class Row:
    """One attack under test.

    Args:
        name: In the catalogue.
        slow: The same by loops.
        settings: Where they are not the defaults.
        floor: AUC that the planted leak must yield with 3 IN and 3 OUT references.
        nonsense: Settings that it must refuse.
        graded: Whether a surer target always means a higher score; False where the score has a few values only.
        learned: Whether members and non-members that are alike may be taken for either.
        ranked: Whether the score is a rank among the examples, so that rounding shows where they all but tie.
    """

    name: str
    slow: Slow
    settings: Mapping[str, Any] = field(default_factory=dict)
    floor: float = 0.9
    nonsense: tuple[Mapping[str, Any], ...] = ()
    graded: bool = True
    ranked: bool = False
    learned: bool = False

    @property
    def attack(self) -> Attack:
        """The attack that the row describes."""
        return ATTACKS.make({"name": self.name, **self.settings})

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={_short(value)}" for key, value in self.settings.items())])


def _short(value: Any) -> Any:  # noqa: ANN401 -- settings hold any JSON-like value
    return value["name"] if isinstance(value, Mapping) else value


ATTACK_ROWS = (
    Row("loss", slow.loss),
    Row("confidence", slow.target_only("rescaled_logit", slow.log_odds)),
    Row("entropy", slow.target_only("entropy", slow.minus_log_mean)),
    Row("modified_entropy", slow.target_only("modified_entropy", slow.minus_log_mean)),
    # The planted gap in accuracy is .27, and the area 1/2 + gap / 2.
    Row("correctness", slow.correctness, floor=0.6, graded=False),
    Row("population", slow.population),
    Row("class_thresholds", slow.class_thresholds("modified_entropy", slow.minus_log_mean), nonsense=NO_BASE),
    Row("class_thresholds", slow.class_thresholds("rescaled_logit", slow.log_odds), {"base": {"name": "confidence"}}),
    # An easy example cannot have less than no loss: however surely it was learnt, it stays near 0.
    Row("calibration", slow.calibration("loss", slow.minus_mean), floor=0.8, nonsense=NO_BASE),
    Row("calibration", slow.calibration("rescaled_logit", slow.log_odds), {"base": {"name": "confidence"}}, floor=0.95),
    Row("reference", slow.interpolated_share, nonsense=({"smoothing": "cubic"},)),
    # With n + 1 = 4 distinct scores a quarter of the non-members tie with the surest member.
    Row("reference", slow.share, {"smoothing": "none"}, floor=0.8, graded=False),
    Row("lira_offline", slow.lira_offline(pooled=True), floor=0.95, nonsense=NO_SPREAD),
    Row("lira_offline", slow.lira_offline(pooled=False), {"variance": "per_example"}),
    Row("lira", slow.lira(pooled=True), floor=0.95, nonsense=NO_SPREAD),
    Row("lira", slow.lira(pooled=False), {"variance": "per_example"}),
    Row("midpoint", slow.midpoint, floor=0.95),
    Row("rmia_offline", slow.rmia(online=False), nonsense=NO_RATIO),
    # At a = 1 the ratio of an easy example stays near 1 however surely it was learnt.
    Row("rmia_offline", slow.rmia(online=False, gamma=2.0, a=1.0), {"gamma": 2.0, "a": 1.0}, floor=0.8),
    Row("rmia", slow.rmia(online=True), nonsense=NO_RATIO),
    Row("rmia", slow.rmia(online=True, gamma=0.5, a=0.0), {"gamma": 0.5, "a": 0.0}),
    Row("base_offline", slow.base_offline(0.33), nonsense=({"scale": -0.1}, {"scale": 1.1}, {"scale": np.nan})),
    # As with RMIA at a = 1.
    Row("base_offline", slow.base_offline(1.0), {"scale": 1.0}, floor=0.8),
    Row("base", slow.base),
    # A probability of nothing has a gradient of 1, however small it is.
    Row("gradient_norm", slow.gradient_norm(slice(1, None)), graded=False, nonsense=({"of": "weight"},)),
    Row("gradient_norm", slow.gradient_norm(slice(1)), {"of": "input"}, graded=False),
    Row("region", slow.region(slow.lira(pooled=True), "readout", -1), floor=0.95, nonsense=NO_REGION),
    Row("region", slow.region(slow.lira(pooled=True), "readout", 0), {"region": 0}, floor=0.95),
    Row(
        "region",
        slow.region(slow.midpoint, "magnitude", 1),
        {"of": "magnitude", "region": 1, "base": {"name": "midpoint"}},
        floor=0.95,
    ),
    # As with the norm of the gradient by all weights.
    Row("region", slow.region(slow.lira(pooled=True), "gradient", 2), {"of": "gradient", "region": 2}, graded=False),
    Row("reveal", slow.reveal(slow.lira(pooled=True)), floor=0.95, nonsense=NO_REVEAL),
    Row("reveal", slow.reveal(slow.rmia(online=False)), {"base": {"name": "rmia_offline"}}),
    Row(
        "white_box",
        learned("white_box", slow.inside),
        SMALL,
        floor=0.8,
        nonsense=NO_TRAINING,
        graded=False,
        learned=True,
    ),
    # Under Student's t a logit far from both sides speaks for neither.
    Row("lira_student", slow.lira_student("student"), floor=0.95, graded=False, nonsense=NO_PREDICTION),
    Row("lira_student", slow.lira_student("normal"), {"predictive": "normal"}, floor=0.95),
    Row("rmia_vote", slow.rmia_vote(), nonsense=NO_RATIO),
    Row("rmia_vote", slow.rmia_vote(gamma=2.0, a=1.0), {"gamma": 2.0, "a": 1.0}, floor=0.8),
    Row(
        "rmia_taylor",
        slow.on_losses(slow.rmia_vote(gamma=2.0), TaylorSoftmax().key),
        nonsense=(
            *({"terms": 1}, {"terms": 21}, {"temperature": 0.0}, {"temperature": np.nan}, {"margin": -0.1}),
            *({"queries_by": "shift"}, {"base": {"name": "lira"}}),
        ),
        # A ratio of 2 is out of reach for most examples here.
        floor=0.8,
    ),
    Row("rmia_taylor", slow.on_losses(slow.base, TaylorSoftmax().key), {"base": {"name": "base"}}),
    Row("range", slow.trimmed(slow.rmia(online=False), 0.4, 0.0), nonsense=NO_RANGE),
    Row(
        "range",
        slow.trimmed(slow.midpoint, 0.0, 0.5),
        {"base": {"name": "midpoint"}, "drop_lowest": 0.0, "drop_highest": 0.5},
        floor=0.95,
    ),
    # Counts and shares have a few values, distances vary with the example more than with membership.
    Row(
        "label_augmented",
        slow.robustness(AugmentedLabels().key),
        floor=0.8,
        graded=False,
        nonsense=({"by": "zoom"}, {"reach": 0}),
    ),
    Row(
        "label_noise",
        slow.robustness(NoisyLabels().key),
        floor=0.8,
        graded=False,
        nonsense=({"copies": 0}, {"noise": 0.0}, {"noise": np.nan}),
    ),
    Row("label_boundary", slow.robustness(Boundary().key), floor=0.8, graded=False, nonsense=({"budget": 99},)),
    Row(
        "label_learned",
        learned("label_learned", lambda signals: signals[AugmentedLabels().key], per_class=True, hidden=(10, 10)),
        {**SMALL, "hidden": (10, 10)},
        floor=0.75,
        nonsense=(*NO_TRAINING, {"by": "zoom"}, {"reach": 0}),
        graded=False,
        learned=True,
    ),
    # A target may be ever surer of a wrong class.
    Row("max_posterior", slow.max_posterior, graded=False),
    Row(
        "shadow_classifier",
        learned("shadow_classifier", lambda signals: np.exp(signals[Posteriors().key]), per_class=True),
        SMALL,
        floor=0.8,
        nonsense=(*NO_TRAINING, {"read": "logits"}),
        graded=False,
        learned=True,
    ),
    Row(
        "ml_leaks",
        learned("ml_leaks", lambda signals: np.exp(signals[Posteriors(3).key])),
        SMALL,
        floor=0.8,
        nonsense=(*NO_TRAINING, {"top": 0}),
        graded=False,
        learned=True,
    ),
    Row(
        "ml_leaks",
        learned("ml_leaks", lambda signals: signals[Posteriors(3).key], hidden=(5, 4)),
        {**SMALL, "hidden": (5, 4), "read": "log_probabilities"},
        floor=0.8,
        graded=False,
        learned=True,
    ),
    Row(
        "loss_trajectory",
        learned("loss_trajectory", lambda signals: signals[Trajectory(epochs=2).key]),
        {**SMALL, "epochs": 2},
        floor=0.8,
        nonsense=(*NO_TRAINING, {"epochs": 0}, {"student": "large"}),
        graded=False,
        learned=True,
    ),
    Row(
        "quantile_regression",
        slow.quantile_regression,
        nonsense=({"by": "median"}, {"alpha": 0.0}, {"alpha": 1.0}, {"alpha": np.nan}, {"folds": 1}, {"epochs": 0}),
    ),
    Row("per_sample", slow.per_sample(slow.midpoint), nonsense=({"base": "lira"},)),
    Row("per_sample", slow.per_sample(slow.rmia(online=False)), {"base": {"name": "rmia_offline"}}, floor=0.8),
    *(
        Row(
            "ensemble",
            slow.ensemble(
                rule, slow.lira(pooled=True), slow.interpolated_share, slow.calibration("loss", slow.minus_mean)
            ),
            {"rule": rule},
            ranked=True,
            nonsense=NO_ENSEMBLE,
        )
        for rule in ("majority", "coverage", "stability")
    ),
)
