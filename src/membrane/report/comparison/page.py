"""A comparison as one HTML page that needs nothing else, with a PNG of every setting's curves beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from membrane.core.files import write_bytes
from membrane.report import numbers
from membrane.report.access import Results
from membrane.report.comparison import tables
from membrane.report.comparison.check import check_comparison, shown_settings
from membrane.report.comparison.curves import asked, curve_class, curves, points_in
from membrane.report.comparison.words import HEADLINE, LIMITS, measure_name, sentences
from membrane.report.detail_tables import attacks, pairs
from membrane.report.filters import Safe
from membrane.report.frame import swatch
from membrane.report.page import filled
from membrane.report.palette import MATPLOTLIB, shape
from membrane.report.png import as_png, colour, leakage_axes, panels, plain_text, shared_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def comparison_html(results: Results, path: Path) -> Path:
    """Path of the page, written whole or not at all; ``<stem>-<setting>.png`` appear beside it.

    Raises:
        StoreError: If nothing is measured yet, or a file cannot be written.
    """
    check_comparison(results)
    content = filled("comparison.html", results=results, **_context(results)).encode("utf-8", "replace")
    for setting in shown_settings(results):
        name = re.sub(r"[^A-Za-z0-9]+", "-", setting["name"]).strip("-")
        write_bytes(path.with_name(f"{path.stem}-{name}.png"), curves_png(results, setting))
    write_bytes(path, content)  # last: a page that is there is complete
    return path


def _context(results: Results) -> dict[str, Any]:
    legend = [(i, name, curve_class(i), Safe(swatch(i))) for i, name in enumerate(results["methods"])]
    return {
        "lead": list(sentences(results)),
        "legend": legend,
        "marks": {label: (class_, mark) for _, label, class_, mark in legend},
        "losses": tables.losses(results),
        "first_loss": f"{HEADLINE:g}",
        "boards": [(f"{one['loss']:g}", tables.board(results, one["loss"])) for one in results["board"]],
        "settings": [_setting(results, one) for one in shown_settings(results)],
        "unfinished": tables.unfinished(results),
        "searches": tables.searches(results),
        "attacks": attacks(results),
        "versions": pairs("Versions", results["versions"]),
        "limits": LIMITS,
    }


def _setting(results: Results, setting: Results) -> dict[str, Any]:
    both = asked(setting)
    task = setting["task"]
    facts = [
        ("models of each cell", numbers.count(task["n_models"])),
        ("members per model", numbers.count(task["members_per_model"])),
        ("canaries", numbers.count(task["canaries"])),
        ("test examples", numbers.count(task["test"])),
        ("points", numbers.count(len(setting["points"]))),
    ]
    return {
        "name": setting["name"],
        "source": task["source"],
        "facts": [(value, name) for name, value in facts],
        "drawing": Safe(curves(results, setting).svg),
        "measures": [(one, measure_name(one)) for one in dict.fromkeys(measure for _, measure in both)],
        "slices": [(one, one) for one in dict.fromkeys(part for part, _ in both)],
        "first": both[0],
        "matched": [(f"{one['loss']:g}", tables.matched(setting, one["loss"])) for one in results["board"]],
        "points": tables.points(setting),
        "about": pairs("Settings", setting["about"]),
    }


def curves_png(results: Results, setting: Results) -> bytes:
    """The areas on every slice, side by side."""
    parts = list(dict.fromkeys(part for part, measure in asked(setting) if measure == "auc"))
    figure, axes = panels(f"{results['title']}: {setting['name']}", len(parts), 5.2)
    for part, one in zip(parts, axes, strict=True):
        found = points_in(results, setting, part, "auc")
        for method in dict.fromkeys(point.method for point in found):
            _series(one, results, method, [point for point in found if point.method == method])
        leakage_axes(one, part)
    shared_legend(figure, axes[0])
    return as_png(figure)


def _series(one: Axes, results: Results, method: int, found: list[Any]) -> None:
    ordered = sorted(found, key=lambda point: point.leakage[1])
    x, y = ([getattr(point, axis)[1] for point in ordered] for axis in ("leakage", "accuracy"))
    bars = [
        [
            [getattr(p, axis)[1] - getattr(p, axis)[0] for p in ordered],
            [getattr(p, axis)[2] - getattr(p, axis)[1] for p in ordered],
        ]
        for axis in ("leakage", "accuracy")
    ]
    one.errorbar(
        x,
        y,
        xerr=bars[0],
        yerr=bars[1],
        fmt=f"{MATPLOTLIB[shape(method)]}-",
        color=colour(method, 0),
        markersize=6,
        linewidth=1.2,
        elinewidth=0.7,
        label=plain_text(results["methods"][method]),
    )
