"""What a comparison gives: its cells read back, curves and tables made from them alone, a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from membrane.core.settings import fingerprint
from membrane.core.store import write_json
from membrane.report.comparison import check_comparison, comparison_html, comparison_markdown
from membrane.report.comparison.check import FORMAT
from membrane.verbs.comparison.board import LOSSES, board, describe_point, matched, points_of
from membrane.verbs.comparison.files import read_cell, read_plan


@dataclass(frozen=True)
class Comparison:
    """A comparison's plan and what there is of it.

    Args:
        plan: What the folder is to hold.
        cells: What is finished of it, failures included, in the plan's order.
        missing: What is not.
    """

    plan: Mapping[str, Any]
    cells: tuple[Mapping[str, Any], ...]
    missing: tuple[Mapping[str, Any], ...]

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Comparison:
        """Comparison from its folder, at any moment.

        Raises:
            StoreError: If there is none, or a file is not ours.
        """
        plan = read_plan(Path(folder))
        of = {name: fingerprint(about) for name, about in plan["settings"].items()}
        cells, missing = [], []
        for one in plan["cells"]:
            cell = read_cell(Path(folder) / one["file"], of[one["setting"]])
            if cell is None:
                missing.append(one)
            else:
                cells.append(cell | {name: one[name] for name in ("method", "strength")})  # as they are called now
        return Comparison(plan, tuple(cells), tuple(missing))

    @cached_property
    def results(self) -> dict[str, Any]:
        """Curves, all methods at equal accuracy, the board; JSON-ready, made from the cells alone."""
        baseline = self.plan["methods"][0]
        settings, levels = [], {}
        for name, about in self.plan["settings"].items():
            points = points_of(self.cells, name)
            base = next((point for point in points if point.method == baseline), None)
            levels[name] = matched(points, baseline)
            task = next(iter(points[0].rows.values()))["task"] if points else None
            settings.append(
                {
                    "name": name,
                    "about": about,
                    "task": task,
                    "points": [describe_point(point, base) for point in points],
                    "matched": levels[name],
                }
            )
        return {
            "format": FORMAT,
            "title": self.plan["title"],
            "baseline": baseline,
            "methods": list(self.plan["methods"]),
            "settings": settings,
            "board": [{"loss": loss, "rows": board(levels, self.plan["methods"], loss)} for loss in LOSSES],
            "attacks": self.cells_measured[0]["attacks"] if self.cells_measured else [],
            "failed": [_told(cell) | {"why": cell["failed"]} for cell in self.cells if "failed" in cell],
            "missing": [_told(one) for one in self.missing],
            "searches": list(self.plan.get("searches", ())),
            "versions": dict(self.plan["versions"]),
        }

    @property
    def cells_measured(self) -> list[Mapping[str, Any]]:
        """Those that did not fail."""
        return [cell for cell in self.cells if "failed" not in cell]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write results.json and the page with its figures; path of the page.

        Raises:
            StoreError: If nothing is measured yet, or files cannot be written.
        """
        check_comparison(self.results)
        write_json(Path(folder) / "results.json", self.results)
        return comparison_html(self.results, Path(folder) / "report.html")

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the page: it loads nothing from the network; a figure of each setting as PNG lies beside it."""
        return comparison_html(self.results, Path(path))

    def to_markdown(self) -> str:
        """Board and tables for a review."""
        return comparison_markdown(self.results)


def _told(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell[name] for name in ("setting", "method", "strength", "seed")}
