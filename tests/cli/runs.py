"""Run files for the tests: one that is right, and what a mistake in it looks like."""

from __future__ import annotations

from typing import Any

TINY = """\
title = "Tiny"
seed = 3
data = { name = "digits", test = 297 }
model = { name = "mlp", widths = [16, 16] }
recipe = { epochs = 4, lr = 0.1, batch_size = 100 }
defenses = [
  { name = "undefended" },
  { name = "short_schedule", epochs = 2 },
  { name = "pptp", label = "PPTP", max_accuracy_drop = 0.05, max_candidates = 10 },
]
attacks = ["loss", { name = "midpoint" }]
audit = { references = 4, canaries = 20, holdout = 500, pool = 1000 }
"""


def settings(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 -- any TOML value
    """Plain settings of a good run with some keys replaced, or left out where the value is None."""
    plain: dict[str, Any] = {
        "title": "t",
        "seed": 1,
        "data": {"name": "digits"},
        "model": {"name": "mlp", "widths": [8]},
        "recipe": {"epochs": 3, "lr": 1, "augment": False},
        "defenses": [{"name": "undefended"}, {"name": "pptp", "base": {"name": "relaxloss", "alpha": 1}}],
        "attacks": ["loss", {"name": "lira", "variance": "pooled"}],
        "audit": {"references": 4, "canaries": 5},
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}
