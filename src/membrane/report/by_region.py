"""Where in the network a leak can be read: one row for each region, one column for each way of reading it."""

from __future__ import annotations

from membrane.report.access import Results
from membrane.report.tables import Cell, Notes, Table, auc_cell, head

_WAYS = {"readout": "Log-odds in its output", "gradient": "Gradient of its weights", "magnitude": "Size of its output"}


def by_region(entry: Results) -> Table | None:
    """AUC at every region, None where no region was read."""
    found = entry.get("regions")
    if not found:
        return None
    notes, slices = Notes(), list(entry["slices"])
    ways = [way for way in _WAYS if any(place["of"] == way for place in found["places"])]
    names = list(dict.fromkeys(place["region"] for place in found["places"]))
    at = {(place["region"], place["of"]): place["slices"] for place in found["places"]}

    def cell(name: str, way: str, part: str) -> Cell:
        area = at.get((name, way), {}).get(part)
        return Cell("–") if area is None else auc_cell(entry["slices"][part], area, notes)

    return Table(
        caption=f"AUC at each region, {entry['label']}",
        columns=["", *(part for _ in ways for part in slices)],
        rows=[[head(name), *(cell(name, way, part) for way in ways for part in slices)] for name in names],
        groups=[("", 1), *((_WAYS[way], len(slices)) for way in ways)],
        notes=notes.texts,
    )
