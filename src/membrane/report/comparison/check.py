"""What a page of a comparison needs to be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from membrane.core.errors import StoreError
from membrane.report.access import Results

FORMAT = "membrane comparison results 1"


def check_comparison(results: Any) -> None:  # noqa: ANN401 -- whatever a file held
    """Nothing, if ``results`` can be shown.

    Raises:
        StoreError: If they are no results of a comparison, or no cell is measured yet.
    """
    if not isinstance(results, Mapping) or results.get("format") != FORMAT:
        raise StoreError(f"these are no results of a comparison (format {FORMAT!r}); `membrane compare` writes them.")
    if not any(setting["points"] for setting in results["settings"]):
        failed = f" {len(results['failed'])} failed." if results["failed"] else ""
        raise StoreError(f"no cell of the comparison is measured yet; {len(results['missing'])} are missing.{failed}")


def shown_settings(results: Results) -> list[Results]:
    """Settings of which something is measured."""
    return [setting for setting in results["settings"] if setting["points"]]
