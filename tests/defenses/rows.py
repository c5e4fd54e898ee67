"""The table of defenses under test: what strength zero is, what a strong setting is, nonsense to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from membrane.core.catalogue import Catalogue
from membrane.defenses import DEFENSES
from membrane.training import Defense

EPOCHS = 10  # of the recipe that the questions train


@dataclass(frozen=True)
class Row:
    """One defense under test.

    Args:
        name: In the catalogue.
        nothing: Settings at which it is the undefended baseline of ``EPOCHS`` epochs; None if it has no such.
        strong: Settings at which the members' loss has to rise.
        exact: Whether the baseline comes back bit for bit; else up to float rounding and recalibration.
        trains: Whether it changes training, instead of only what is done afterwards.
        nonsense: Settings that it must refuse.
        asked: Whether it can train with the questions' recipe; else a file of its own does.
        slope: Whether its loss of a batch is a function of the logits that holds none of them constant, so that
            differences give its gradient; else a file of its own asks.
    """

    name: str
    nothing: Mapping[str, Any] | None = field(default_factory=dict)
    strong: Mapping[str, Any] | None = None
    exact: bool = True
    trains: bool = False
    nonsense: tuple[Mapping[str, Any], ...] = ()
    asked: bool = True
    slope: bool = True

    def make(self, settings: Mapping[str, Any], catalogue: Catalogue[Defense] = DEFENSES) -> Defense:
        """The defense under these settings."""
        return catalogue.make({"name": self.name, **settings})

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in (self.strong or {}).items())])


NAN, INFINITE = float("nan"), float("inf")


def outside(setting: str, *values: float) -> tuple[dict[str, float], ...]:
    """Settings to refuse: these values, and what no setting may be."""
    return tuple({setting: value} for value in (*values, NAN, INFINITE))


DEFENSE_ROWS = (
    Row("undefended"),
    Row(
        "early_stopping",
        nothing={"epoch": EPOCHS - 1},
        strong={"epoch": 1},
        exact=False,
        nonsense=({"epoch": -1}, {"epoch": 1.5}),
    ),
    Row(
        "short_schedule",
        nothing={"epochs": EPOCHS},
        strong={"epochs": 2},
        trains=True,
        nonsense=({"epochs": 0}, {"epochs": -3}, {"epochs": 2.5}),
    ),
    Row(
        "weight_averaging",
        nothing={"first": EPOCHS - 1, "last": EPOCHS - 1, "of": "epochs"},
        strong={"first": 0, "last": 2},
        exact=False,
        nonsense=({"first": -1}, {"first": 4, "last": 3}, {"first": -3, "last": -1}, {"of": "batches"}),
    ),
    Row("label_smoothing", {"epsilon": 0.0}, {"epsilon": 0.5}, trains=True, nonsense=outside("epsilon", -0.1, 1.0)),
    Row("confidence_penalty", {"beta": 0.0}, {"beta": 1.0}, trains=True, nonsense=outside("beta", -0.1)),
    Row("focal_loss", {"gamma": 0.0}, {"gamma": 4.0}, trains=True, nonsense=outside("gamma", -0.1)),
    Row("l2", {"weight_decay": 0.0}, {"weight_decay": 0.1}, trains=True, nonsense=outside("weight_decay", -0.1)),
    Row("dropout", {"p": 0.0}, {"p": 0.8}, trains=True, nonsense=outside("p", -0.1, 1.0)),
    Row("mixup", {"alpha": 0.0}, {"alpha": 1.0}, trains=True, nonsense=outside("alpha", -0.1)),
    Row(
        "cutmix",
        {"probability": 0.0},
        {"probability": 1.0},
        trains=True,
        nonsense=(*outside("probability", -0.1, 1.1), *outside("alpha", 0.0, -1.0)),
    ),
    Row(
        "mixup_mmd",
        {"alpha": 0.0, "weight": 0.0},
        {"alpha": 0.0, "weight": 10.0},
        trains=True,
        nonsense=(*outside("alpha", -0.1), *outside("weight", -0.1), *outside("gap", -0.1, 1.1)),
    ),
    Row(
        "relaxloss",
        nothing={"alpha": 0.0},
        strong={"alpha": 0.7},
        trains=True,
        slope=False,
        nonsense=(
            *({"alpha": value} for value in (-0.1, NAN, INFINITE)),
            *({"upper": value} for value in (0.0, -0.5, 1.1, NAN)),
            {"variant": "mine"},
        ),
    ),
    Row(
        "relaxloss",
        nothing={"alpha": 0.0, "variant": "plain"},
        strong={"alpha": 0.7, "variant": "plain"},
        trains=True,
        slope=False,
    ),
    Row(
        "hamp",
        nothing=None,
        strong={"gamma": 0.9},
        trains=True,
        nonsense=(*outside("gamma", -0.1, 1.0), *outside("alpha", -0.1)),
    ),
    Row(
        "hamp_training",
        {"gamma": 0.0, "alpha": 0.0},
        {"gamma": 0.9, "alpha": 0.1},
        trains=True,
        nonsense=(*outside("gamma", -0.1, 1.0), *outside("alpha", -0.1)),
    ),
    Row("hamp_output", nothing=None, strong={}),
    *(
        Row(
            "ccl",
            {"alpha": 1.0, "beta": 1.0, "form": form},
            {"alpha": 0.1, "beta": 0.1, "form": form},
            trains=True,
            nonsense=(*outside("alpha", 0.0, 1.1), *outside("beta", 0.0), {"form": "concave"}),
        )
        for form in ("exponential", "quadratic")
    ),
    Row(
        "crl",
        {"alpha": 0.0, "tau": 0.0, "weight": 0.0},
        {"alpha": 0.9},
        trains=True,
        slope=False,
        nonsense=(
            *(one for k in ("alpha", "tau", "weight", "alpha_center", "tau_center") for one in outside(k, -0.1)),
            *(one for share in ("upper", "upper_center") for one in outside(share, 0.0, 1.1)),
            *outside("lr_center", 0.0),
        ),
    ),
    Row("memguard", {"epsilon": 0.0}, nonsense=(*outside("epsilon", -0.1, 2.1), {"epochs": 0}, *outside("lr", 0.0))),
    Row(
        "purifier",
        nothing=None,
        strong={"epochs": 200, "lr": 0.01},
        nonsense=(
            *outside("swap", -0.1, 1.1),
            *outside("label_weight", -0.1),
            *outside("near", 0.0),
            *outside("lr", 0.0),
            {"hidden": []},
            {"hidden": [4, 0]},
            {"latent": 0},
            {"epochs": 0},
        ),
    ),
    Row("temperature", {"temperature": 1.0}, {"temperature": 5.0}, nonsense=outside("temperature", 0.9, -2.0)),
    Row("top_k", {"k": 3}, nonsense=({"k": 0}, {"k": 1.5})),
    Row("rounding", {"digits": 15}, nonsense=({"digits": 0}, {"digits": 16}, {"digits": 1.5})),
    Row(
        "dp_sgd",
        nothing=None,
        trains=True,
        asked=False,
        nonsense=(
            *outside("noise", -0.1),
            *outside("clip", 0.0),
            *outside("delta", 0.0, 1.0),
            {"clipping": "none"},
            {"views": 0},
        ),
    ),
    Row(
        "selena",
        nothing=None,
        strong={"models": 3, "left_out": 1},
        trains=True,
        slope=False,
        nonsense=({"models": 1}, {"left_out": 0}, {"models": 3, "left_out": 3}, {"models": 2.5}),
    ),
    Row(
        "advreg",
        nothing={"weight": 0.0},
        trains=True,
        asked=False,
        nonsense=(*outside("weight", -0.1), {"attack_steps": 0}, *outside("attack_lr", 0.0)),
    ),
    Row(
        "dmp",
        nothing=None,
        strong={},
        trains=True,
        slope=False,
        nonsense=(*outside("share", 0.0, 1.1), *outside("temperature", 0.0)),
    ),
    Row(
        "kcd",
        {"mix": 0.0},
        {"mix": 1.0, "folds": 3},
        trains=True,
        slope=False,
        nonsense=(*outside("mix", -0.1, 1.1), {"folds": 1}, {"folds": 2.5}),
    ),
    Row(
        "mist",
        nothing=None,
        strong={"weight": 1.0, "parts": 2},
        trains=True,
        slope=False,
        nonsense=(*outside("weight", -0.1), {"parts": 1}, {"passes": 0}, {"parts": 2.5}),
    ),
    Row(
        "neuguard",
        {"balance": 0.0, "variance": 0.0},
        {"balance": 0.1, "variance": 5.0},
        trains=True,
        slope=False,
        nonsense=(*outside("balance", -0.1), *outside("variance", -0.1)),
    ),
    Row(
        "past",
        {"weight": 0.0},
        {"weight": 0.1, "epochs": 10, "lr": 0.01},
        nonsense=(
            *outside("weight", -0.1),
            *outside("focus", -0.1),
            *outside("lr", 0.0),
            {"epochs": 0},
            {"sample": 0},
        ),
    ),
    Row(
        "cwrf",
        nothing=None,
        strong={"share": 0.1, "steps": 10, "inner": {"name": "relaxloss", "alpha": 0.7}},
        trains=True,
        slope=False,
        nonsense=(
            *outside("share", -0.1, 1.0),
            *outside("mix", -0.1, 1.1),
            *outside("probe_lr", 0.0),
            {"steps": 0},
            {"inner": {"name": "rounding"}},
            {"inner": {"name": "early_stopping"}},
        ),
    ),
    Row("sam", {"rho": 0.0}, trains=True, asked=False, nonsense=outside("rho", -0.1)),
    Row(
        "swa",
        {"start": EPOCHS},
        {"start": 1, "lr": 0.2},
        trains=True,
        slope=False,
        nonsense=({"start": -1}, {"start": 1.5}, *outside("lr", 0.0)),
    ),
    Row(
        "stacked",
        {"answers": {"name": "temperature", "temperature": 1.0}},
        {"base": {"name": "relaxloss", "alpha": 0.7}, "answers": {"name": "temperature", "temperature": 3.0}},
        trains=True,
        slope=False,
        nonsense=(
            {"answers": {"name": "early_stopping"}},
            {"answers": {"name": "hamp"}},
            {"answers": {"name": "undefended"}},
            {"base": {"name": "dmp"}, "answers": {"name": "memguard"}},
        ),
    ),
)
