"""Results as one HTML page that needs nothing else: no network, no fonts, no libraries, and PNG files beside it.

The figures are SVG written here and switched by a few lines of JavaScript, rather than a bundled plotting library: a
page a hundred times smaller, readable without scripts, and with nothing in it that a reviewer could not read.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from membrane.core.files import write_bytes
from membrane.report import numbers, palette
from membrane.report.access import Results
from membrane.report.check import check_results
from membrane.report.context import context
from membrane.report.filters import Safe, linked, tidy, whole
from membrane.report.png import pngs

if TYPE_CHECKING:
    from jinja2 import Template


def to_html(results: Results, path: str | os.PathLike[str], png: bool = True) -> Path:
    """Path of the page, written whole or not at all.

    Args:
        results: What an audit found; nothing is computed again.
        path: The page; ``<stem>-frontier.png``, ``<stem>-roc.png`` and ``<stem>-risk-map.png`` appear beside it.
        png: Whether to draw those.

    Raises:
        StoreError: If ``results`` is not a whole results dictionary, or a file cannot be written.
    """
    check_results(results)
    page = Path(path)
    content = render(results).encode("utf-8", "replace")  # JSON may hold half a surrogate pair
    drawn = pngs(results) if png else {}
    for name, image in drawn.items():
        write_bytes(page.with_name(f"{page.stem}-{name}.png"), image)
    write_bytes(page, content)  # last: a page that is there is complete
    return page


def render(results: Results) -> str:
    """The page's HTML; ``results`` has been checked."""
    return filled("template.html", results=results, **context(results))


def filled(name: str, **variables: object) -> str:
    """A page from a template, with the style and the script that all pages share."""
    style, script = palette.css() + _file("style.css"), _file("script.js")
    return template(name).render(policy=_policy(style, script), style=Safe(style), script=Safe(script), **variables)


def _policy(style: str, script: str) -> str:
    """Content security policy: nothing from anywhere, and only this style and this script."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return resources.files("membrane.report").joinpath(name).read_text("utf-8")


@functools.cache
def template(name: str) -> Template:
    """A template of this room; what it does not find in the results reads as absent."""
    from jinja2 import Environment, FunctionLoader

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_file))
    environment.filters.update(arxiv=linked, tidy=tidy, whole=whole, method=numbers.method_name, count=numbers.count)
    return environment.get_template(name)
