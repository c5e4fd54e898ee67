"""A fixed results dictionary, shaped like a real audit's: five entries on CIFAR-10, numbers made by formula."""

from __future__ import annotations

import copy
from statistics import NormalDist
from typing import Any

NORMAL = NormalDist()
ATTACKS = {"loss": 0.80, "reference": 0.86, "lira_offline": 0.94, "lira": 1.0, "midpoint": 0.985, "rmia": 0.99}
SLICES = {"population": (78_400, 77_600), "canaries": (1_000, 1_000)}
# label, defense, test accuracy, train accuracy, AUC on the population, on the canaries
ENTRIES = (
    ("undefended", {"name": "undefended"}, 0.5281, 0.9996, 0.9537, 0.9991),
    ("early stopping", {"name": "early_stopping", "epoch": 4}, 0.4972, 0.6528, 0.6481, 0.7583),
    ("short schedule", {"name": "short_schedule", "epochs": 7}, 0.5316, 0.8062, 0.7349, 0.9013),
    ("averaged window", {"name": "weight_averaging", "first": 2, "last": 5}, 0.5373, 0.7114, 0.7071, 0.8211),
    ("PPTP", {"name": "pptp", "max_accuracy_drop": 0.0}, 0.5513, 0.7522, 0.6693, 0.8644),
)
REGIONS = (
    # name, parameters, share, displacement, leakage drop, accuracy change, random channels
    ("stem", 464, 0.0015, 1.02, 0.004, -0.0210, (0.002, -0.004)),
    ("stage 1", 4_672, 0.0151, 2.41, 0.012, -0.0170, (0.006, -0.006)),
    ("stage 2", 14_528, 0.0469, 4.87, 0.049, -0.0090, (0.019, -0.012)),
    ("stage 3", 57_728, 0.1864, 9.36, 0.162, 0.0080, (0.061, -0.015)),
    ("stage 4", 230_144, 0.7432, 14.92, 0.141, 0.0030, (0.152, -0.041)),
    ("head", 1_290, 0.0042, 3.15, 0.021, -0.0020, (0.003, -0.002)),
)


def example(count: int = 5) -> dict[str, Any]:
    """A new dictionary with the first ``count`` entries, free to be changed."""
    rows = [*ENTRIES[: count - 1], ENTRIES[-1]] if count > 1 else [ENTRIES[0]]
    return copy.deepcopy(
        {
            "format": "membrane results 1",
            "title": "CIFAR-10, small ResNet, no augmentation",
            "created": "2026-11-01T10:24:00+00:00",
            "settings": {
                "data": {"name": "parquet", "path": "cifar10.parquet", "pool": 20_000},
                "recipe": {"model": "resnet", "widths": [16, 32, 64, 128], "epochs": 24, "lr": 0.1, "nesterov": True},
                "references": 8,
                "seed": 0,
            },
            "versions": {"membrane": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.1"},
            "task": _task(),
            "baseline": "undefended",
            "entries": [_entry(*row) for row in rows],
            "attacks": _attacks(),
            "comparisons": _comparisons() if count > 1 else [],
            "limits": ["Everything ran on one machine, with one seed for the split."],
            "against": [_against(*row) for row in rows[1:]],
            "tier": {
                "name": "few references",
                "references": 6,
                "weights": False,
                "next": {"name": "many references", "models": 66, "adds": "a variance for each example"},
                "unread": "attacks that read the weights",
            },
        }
    )


def _task() -> dict[str, Any]:
    return {
        "source": "CIFAR-10 from cifar10.parquet",
        "pool": 20_000,
        "n_models": 8,
        "canaries": 250,
        "holdout": 4_000,
        "test": 10_000,
        "members_per_model": 10_000,
        "classes": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    }


def rate(value: float, n: int, half: float) -> dict[str, Any]:
    """A counted share with a symmetric interval."""
    caught = round(value * n)
    low, high = max(0.0, caught / n - half), min(1.0, caught / n + half)
    return {"value": caught / n, "n": n, "successes": caught, "low": low, "high": high, "level": 0.95}


def _about(protected: bool) -> dict[str, Any]:
    return {
        "source": "Fang and Kim 2026, arXiv:2602.02296 (principle)" if protected else "a baseline",
        "reading": protected,
        "acts_on": "release" if protected else "training",
        "extra_data": "holdout: 500 non-members or more, to choose on" if protected else "none",
        "cost": "1.9 times the training, 1.0 times the answer" if protected else "",
        "cost_measured_on": "500 digits" if protected else "",
        "does_not_stop": "whoever holds the trail",
        "notes": "",
    }


def _entry(label: str, defense: dict[str, Any], test: float, train: float, auc: float, canary: float) -> dict[str, Any]:
    protected = label == "PPTP"
    return {
        "label": label,
        "defense": defense,
        "about": _about(protected),
        "accuracy": {"test": rate(test, 80_000, 0.0035), "train": rate(train, 80_000, 0.002), "gap": train - test},
        "slices": {"population": _slice("population", auc), "canaries": _slice("canaries", canary)},
        "exposed": [_exposed(i, auc) for i in range(12)],
        "risk": _risk(auc),
        "groups": _groups(),
        "epsilon": _epsilon(canary),
        "facts": {"epoch": {"mean": 4.5, "low": 3, "high": 6}} if protected else None,
        "plan": _plan() if protected else None,
        "plans_agreement": (
            {
                "n_models": 8,
                "same_regions": 7,
                "text": "7 of 8 models chose stage 3 and stage 4; one chose stage 4 alone.",
            }
            if protected
            else None
        ),
        "risk_map": _risk_map() if protected else None,
        "seconds": {"train": 812.4, "finish": 41.7 if protected else 0.0, "audit": 6.31},
    }


def _exposed(i: int, auc: float) -> dict[str, Any]:
    name = _task()["classes"][(3 * i) % 10]
    kind = "canaries" if i % 3 else "population"
    return {
        "index": 4_117 + 811 * i,
        "label": name,
        "slice": kind,
        "caught": 1 - (1 - auc) * 0.01 * (i + 1),
        "n_targets": 4,
        "by": {"fpr": 0.01, "models": rate(0.75, 4, 0.2), "falsely": 1, "others": 4},
    }


def _against(label: str, defense: dict[str, Any], test: float, train: float, auc: float, canary: float) -> Any:  # noqa: ANN401
    _, _, base_test, _, base_auc, base_canary = ENTRIES[0]

    def change(area: float, base: float) -> dict[str, Any]:
        caught = {"fpr": 0.01, **_interval(0.6 * (area - base), 0.02)}
        return {"attacks": ["lira", "lira"], "auc": _interval(area - base, 0.005), "tpr": [caught]}

    slices = {"population": change(auc, base_auc), "canaries": change(canary, base_canary)}
    return {"entry": label, "baseline": "undefended", "accuracy": _interval(test - base_test, 0.004), "slices": slices}


def _risk(auc: float) -> dict[str, Any]:
    return {
        "attack": "lira",
        "slice": "population",
        "fpr": 0.01,
        "by_any": rate(0.6 * auc, 19_750, 0.007),
        "by_most": rate(0.4 * auc, 19_750, 0.006),
        "by_all": rate(0.2 * auc, 19_750, 0.005),
        "overlap": 0.61,
        "overlap_by_chance": 0.17,
        "falsely_twice": rate(0.0021, 19_750, 0.0007),
        "falsely_twice_by_chance": 0.0006,
    }


def _groups() -> dict[str, Any]:
    names = _task()["classes"]
    compared = [
        {
            "name": f"class {name}",
            "n_members": 7_900,
            "n_non_members": 7_900,
            "excess": spread(0.034 if name == "cat" else -0.001, 0.008),
            "p_value": 0.00001 if name == "cat" else 0.62,
            "adjusted": 0.0001 if name == "cat" else 1.0,
        }
        for name in names
    ]
    return {"attack": "lira", "slice": "population", "level": 0.95, "too_small": 0, "compared": compared}


def _epsilon(canary: float) -> dict[str, Any]:
    if canary < 0.8:
        return {"refused": "the attacks tell no couple of canaries apart."}
    return {
        "low": 2.31,
        "delta": 1e-5,
        "level": 0.95,
        "attack": "lira",
        "n_couples": 61,
        "n_guesses": 61,
        "n_correct": 60,
        "n_audits": 18,
    }


def _slice(name: str, auc: float) -> dict[str, Any]:
    members, non_members = SLICES[name]
    half = 0.004 if name == "population" else 0.012
    attacks = {
        attack: _attack(0.5 + (auc - 0.5) * part, members, non_members, half) for attack, part in ATTACKS.items()
    }
    return {"n_members": members, "n_non_members": non_members, "attacks": attacks, "strongest": "lira"}


def _attack(auc: float, members: int, non_members: int, half: float) -> dict[str, Any]:
    shift = 2**0.5 * NORMAL.inv_cdf(min(auc, 0.99995))

    def caught(fpr: float) -> float:
        return 1.0 if fpr >= 1 else NORMAL.cdf(shift + NORMAL.inv_cdf(fpr))

    grid = [0.0, *(10 ** (-k / 24) for k in range(120, -1, -1) if 10 ** (-k / 24) >= 1 / non_members)]
    return {
        "auc": {
            "value": auc,
            "low": max(0.5, auc - half),
            "high": min(1.0, auc + half),
            "level": 0.95,
            "method": "cluster bootstrap",
            "n_clusters": 8,
            "note": "too few models to cluster: 8 < 16",
        },
        "tpr": [_tpr(caught(fpr), fpr, members, non_members) for fpr in (0.1, 0.01, 0.001)],
        "roc": {"fpr": grid, "tpr": [0.0, *(caught(fpr) for fpr in grid[1:])]},
    }


def _tpr(value: float, fpr: float, members: int, non_members: int) -> dict[str, Any]:
    if fpr * non_members < 10:
        return {
            "fpr": fpr,
            "refused": f"needs at least {round(10 / fpr):,} non-members; there are {non_members:,}.",
            "to_measure": 24_000,
        }
    return {"fpr": fpr, **rate(value, members, 2.2 * (value * (1 - value) / members) ** 0.5 + 0.0005)}


def spread(value: float, half: float) -> dict[str, float]:
    """An interval of three numbers."""
    return {"value": value, "low": value - half, "high": value + half}


def _interval(value: float, half: float) -> dict[str, Any]:
    return {**spread(value, half), "level": 0.95, "method": "paired bootstrap", "n_clusters": 8, "note": ""}


def _plan() -> dict[str, Any]:
    return {
        "applied": True,
        "reason": "Lowest measured leakage among 214 candidates within the allowed accuracy drop.",
        "stretches": [
            {"region": "stage 3", "first": 2, "last": 5, "keep": 0.0},
            {"region": "stage 4", "first": 2, "last": 7, "keep": 0.15},
        ],
        "accuracy_change": _interval(0.0185, 0.0090),
        "leakage_before": 0.9132,
        "leakage_after": _interval(0.6374, 0.0110),
        "seconds": 39.2,
        "n_candidates": 214,
    }


def _risk_map() -> dict[str, Any]:
    regions = [
        {
            "name": name,
            "n_parameters": parameters,
            "share": share,
            "displacement": far,
            "leakage_drop": spread(drop, 0.009),
            "accuracy_change": spread(change, 0.008),
            "null": spread(0.0, 0.011),
            "random_channels": {"leakage_drop": control[0], "accuracy_change": control[1]},
            "flags": ["no more than as many random channels: size explains it"] if name == "stage 4" else [],
        }
        for name, parameters, share, far, drop, change, control in REGIONS
    ]
    together = [
        {
            "regions": ["stage 3", "stage 4"],
            "leakage_drop": spread(0.2758, 0.012),
            "accuracy_change": spread(0.0203, 0.01),
        },
        {
            "regions": ["stage 2", "stage 3"],
            "leakage_drop": spread(0.1934, 0.012),
            "accuracy_change": spread(0.0051, 0.01),
        },
    ]
    return {
        "method": "mix_response",
        "window": [2, 5],
        "accuracy": 0.5292,
        "leakage": 0.9132,
        "n_members": 2_000,
        "n_holdout": 2_000,
        "seconds": 18.6,
        "flags": ["One trained network; another seed may place the risk elsewhere."],
        "regions": regions,
        "sets": together,
    }


def _attacks() -> list[dict[str, str]]:
    lira = "Carlini et al. 2022, arXiv:2112.03570"
    known = {
        "loss": ("How small the loss is.", "Yeom et al. 2018, arXiv:1709.01604"),
        "reference": ("Loss against reference models.", "Ye et al. 2022, arXiv:2111.09679"),
        "lira_offline": ("Sureness against models that never saw the example.", lira),
        "lira": ("Likelihood ratio of IN and OUT models.", lira),
        "midpoint": ("Distance from the middle of the IN and OUT means.", "this project"),
        "rmia": ("Pairwise likelihood ratios against the population.", "Zarifzadeh et al. 2024, arXiv:2312.03262"),
    }
    return [
        {"name": n, "what": what, "source": source, "threat_model": "scores"} for n, (what, source) in known.items()
    ]


def _comparisons() -> list[dict[str, Any]]:
    text = "PPTP leaks less than {} at equal accuracy: the paired interval excludes 0."
    return [
        {
            "ours": "PPTP",
            "theirs": theirs,
            "accuracy": at,
            "difference": _interval(by, 0.006),
            "text": text.format(theirs),
        }
        for theirs, at, by in (("short schedule", 0.5316, -0.0921), ("averaged window", 0.5502, -0.0302))
    ]
