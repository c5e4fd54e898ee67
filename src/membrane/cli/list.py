"""``membrane list``: what there is to name in a run file, with settings, defaults and sources."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from membrane.attacks import ATTACKS, Attack
from membrane.cli.command import Command
from membrane.cli.page import READING, page
from membrane.cli.text import wrapped
from membrane.core.catalogue import Catalogue
from membrane.core.errors import MembraneError
from membrane.core.settings import to_plain
from membrane.data import SOURCES
from membrane.models import MODELS
from membrane.pptp import DEFENSES, LOCATORS
from membrane.training import RECIPES, Defense
from membrane.training.engines import ENGINES

CATALOGUES: Mapping[str, Catalogue[Any]] = {
    "attacks": ATTACKS,
    "defenses": DEFENSES,
    "estimators": LOCATORS,
    "models": MODELS,
    "data": SOURCES,
    "engines": ENGINES,
    "recipes": RECIPES,
}
_FACTS = {  # class attribute to what the text calls it
    "source": "source",
    "kind": "kind",
    "made_for": "made for",
    "measured": "measured",
    "acts_on": "acts on",
    "trains": "trains",
    "extra_data": "extra data",
    "cost": "costs",
    "cost_measured_on": "costs measured on",
    "does_not_stop": "does not stop",
    "notes": "notes",
}
_NEEDS = {
    "min_in_models": "IN references per example",
    "min_out_models": "OUT references per example",
    "min_population": "population examples",
}


def entries(catalogue: Catalogue[Any]) -> list[dict[str, Any]]:
    """JSON-ready facts about everything in a catalogue: name, what, settings, source, needs, what it says of itself."""
    return [_entry(name, catalogue.entry(name)) for name in catalogue]


def _entry(name: str, cls: type[Any]) -> dict[str, Any]:
    text = (inspect.getdoc(cls) or "").replace("``", "")
    told: dict[str, str] = {}
    for one in reversed(cls.__mro__):  # a class that only changes defaults leaves the words to its base
        told |= _told(inspect.cleandoc((one.__doc__ or "").replace("``", "")))
    facts: dict[str, Any] = {"name": name, "what": text.split("\n\n")[0].replace("\n", " ")}
    facts["settings"] = [_setting(one, told.get(one.name, "")) for one in dataclasses.fields(cls)]
    one = _with_defaults(cls)
    for key in (*_FACTS, "threat_model", "strength"):
        if isinstance(value := getattr(one, key, None), str) and value:
            facts[key] = value
    if isinstance(one, Attack):
        facts["queries"] = one.queries_of()
    if issubclass(cls, Defense):
        facts |= {key: value for key, value in cls.about().items() if value != ""}
    needs = {words: n for key, words in _NEEDS.items() if isinstance(n := getattr(one, key, 0), int) and n}
    return facts | ({"needs": needs} if needs else {})


def _with_defaults(cls: type[Any]) -> Any:  # noqa: ANN401
    """One with its default settings, where what it needs depends on them; the class where some must be given."""
    try:
        return cls()
    except (TypeError, MembraneError):
        return cls


def _setting(field: dataclasses.Field[Any], what: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": field.name, "what": what, "required": False}
    if field.default is not dataclasses.MISSING:
        return facts | {"default": to_plain(field.default)}
    if field.default_factory is not dataclasses.MISSING:
        return facts | {"default": to_plain(field.default_factory())}
    return facts | {"required": True}


def _told(text: str) -> dict[str, str]:
    """What a class's docstring says about each of its settings."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    if section is None:
        return {}
    parts = re.split(r"^    (\w+): ", section[1], flags=re.MULTILINE)[1:]
    return {name: " ".join(what.split()) for name, what in zip(parts[::2], parts[1::2], strict=True)}


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=tuple(CATALOGUES), help="what to list")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as a page of Markdown")


def _run(args: Namespace) -> int:
    found = entries(CATALOGUES[args.kind])
    if args.json:
        print(json.dumps(found, indent=1))
        return 0
    if args.markdown:
        print(page(args.kind, CATALOGUES[args.kind], found), end="")
        return 0
    print("\n\n".join(_shown(one) for one in found))
    return 0


def _shown(entry: Mapping[str, Any]) -> str:
    lines = [wrapped(f"{entry['name']}: {entry['what']}")]
    for one in entry["settings"]:
        value = "must be given" if one["required"] else json.dumps(one["default"])
        lines.append(wrapped(f"{one['name']} ({value}): {one['what']}", "    "))
    if "needs" in entry:
        needs = ", ".join(f"{n} {words}" for words, n in entry["needs"].items())
        lines.append(wrapped(f"needs {needs}", "    "))
    if entry.get("queries", 1) > 1:
        lines.append(wrapped(f"asks for each example {entry['queries']} times", "    "))
    if entry.get("reading"):
        lines.append(wrapped(READING, "    "))
    lines += [wrapped(f"{words}: {entry[key]}", "    ") for key, words in _FACTS.items() if key in entry]
    return "\n".join(lines)


COMMAND = Command(
    "list",
    "list attacks, defenses, estimators, models, data, engines or recipes",
    "membrane list attacks --json",
    _add,
    _run,
)
