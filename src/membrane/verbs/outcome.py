"""What an audit gives: results that can be saved, read back, told in sentences and drawn as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from membrane.core.store import read_json, write_json, write_tensors
from membrane.report import check_results, tier, to_html, to_markdown, verdict
from membrane.verbs.measure import Measurement


@dataclass(frozen=True)
class Audit:
    """Results of an audit.

    Args:
        results: JSON-ready; the same for the same seed, data, code and machine.
        costs: Seconds by entry, kept apart because no two runs agree on them.
        measurements: Scores behind the results by entry label; empty for an audit read back from a file.
    """

    results: dict[str, Any]
    costs: dict[str, Any] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> list[str]:
        """What was found, in sentences."""
        return verdict(self._complete())

    @property
    def tier(self) -> list[str]:
        """Which attacker this audit stood for, and what a stronger one would take and add, in sentences."""
        return tier(self._complete())

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the report: one page that loads nothing from the network, figures as PNG beside it."""
        return to_html(self._complete(), path)

    def to_markdown(self) -> str:
        """Table for a review."""
        return to_markdown(self._complete())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write results.json, costs.json and scores.safetensors.

        Raises:
            StoreError: If they cannot be written.
        """
        tensors = {
            f"{label}/{attack}": scores
            for label, measured in self.measurements.items()
            for attack, scores in measured.scores.items()
        }
        if tensors:
            write_tensors(Path(folder) / "scores.safetensors", tensors)
        write_json(Path(folder) / "costs.json", self.costs)
        write_json(Path(folder) / "results.json", self.results)

    @staticmethod
    def load(folder: str | os.PathLike[str]) -> Audit:
        """Audit from a folder that ``save`` wrote.

        Raises:
            StoreError: If there are no results or they are not ours.
        """
        results = read_json(Path(folder) / "results.json")
        check_results(results)
        costs = Path(folder) / "costs.json"
        return Audit(results, read_json(costs) if costs.is_file() else {})

    def _complete(self) -> dict[str, Any]:
        entries = [entry | {"seconds": self.costs.get(entry["label"])} for entry in self.results["entries"]]
        return self.results | {"entries": entries}
