"""A page of Markdown about all of a catalogue, made from what ``membrane list`` shows and from module docstrings."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from membrane.core.catalogue import Catalogue

_COLUMNS = {
    "threat_model": "opens",
    "needs": "needs",
    "queries": "queries",
    "trains": "trains",
    "made_for": "made for",
    "measured": "measured",
    "acts_on": "acts on",
    "extra_data": "extra data",
    "cost": "costs",
    "source": "source",
}
READING = "a reading: its source was not whole at hand, and numbers of it are not the source's"
_SAID = {"notes": "Which one", "does_not_stop": "Known not to stop"}


def page(kind: str, catalogue: Catalogue[Any], entries: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table of all entries, then each with its settings and what its file says of source and differences.

    Args:
        kind: What they are, in the plural.
        catalogue: That they are from.
        entries: As ``membrane list`` has them.
    """
    there = {key: title for key, title in _COLUMNS.items() if any(entry.get(key) for entry in entries)}
    lines = [
        f"# {kind.capitalize()}",
        "",
        f"Made by `membrane list {kind} --markdown` from what the code says of itself; change it there.",
        "",
        "| name | " + " | ".join(there.values()) + " |",
        "|---" * (len(there) + 1) + "|",
    ]
    for entry in entries:
        cells = (_cell(entry.get(key, "")) for key in there)
        lines.append(f"| [`{entry['name']}`](#{entry['name']}) | " + " | ".join(cells) + " |")
    if measured_on := sorted({entry["cost_measured_on"] for entry in entries if "cost_measured_on" in entry}):
        lines += ["", f"Costs are over the undefended network, to about a tenth: {'; '.join(measured_on)}."]
    for entry in entries:
        lines += ["", f"## {entry['name']}", "", entry["what"], "", *_about(catalogue.entry(entry["name"]))]
        if "does_not_stop" in entry:
            lines += [f"{words}: {entry[key]}.\n" for key, words in _SAID.items() if key in entry]
            lines += [f"This is {READING}.\n"] if entry.get("reading") else []
        lines += [f"- `{one['name']}` ({_default(one)}): {one['what']}" for one in entry["settings"]]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _about(cls: type[Any]) -> list[str]:
    """The paragraphs of a module's docstring after its first line."""
    text = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").replace("``", "`")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")[1:]]
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _cell(value: Any) -> str:  # noqa: ANN401 -- text, a number or needs
    if isinstance(value, Mapping):
        return ", ".join(f"{n} {words}" for words, n in value.items())
    return str(value).replace("|", "\\|")


def _default(setting: Mapping[str, Any]) -> str:
    return "must be given" if setting["required"] else f"`{json.dumps(setting['default'])}`"
