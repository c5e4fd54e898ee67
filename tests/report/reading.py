"""What a browser would find in a page: tags with attributes, visible text, rows of tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

SILENT = {"script", "style", "title"}


@dataclass
class Page(HTMLParser):
    """A parsed page.

    ``tags`` are (name, attributes), ``text`` is what can be read, ``rows`` the text of each table row, ``inside`` the
    content of scripts and styles.
    """

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    rows: list[str] = field(default_factory=list)
    inside: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []

    @staticmethod
    def of(html: str) -> Page:
        page = Page()
        page.feed(html)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.rows.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        here = self._open[-1] if self._open else ""
        if here in ("script", "style"):
            self.inside.setdefault(here, []).append(data)
        if here in SILENT:
            return
        text = " ".join(data.replace("\u00a0", " ").split())
        self.text += f" {text}"
        if "tr" in self._open:
            self.rows[-1] += f" {text}"


def numbers_in(text: str) -> list[tuple[float, float]]:
    """(value, half of its last digit) of every number written in ``text``; thousands have commas, minus is −."""
    found = re.findall(r"(?<![\d.,])[−+-]?\d+(?:,\d{3})*(?:\.\d+)?", text)
    plain = [one.replace(",", "").replace("−", "-") for one in found]
    return [(float(one), 0.5 * 10.0 ** -len(one.partition(".")[2])) for one in plain]


def says(text: str, value: float) -> bool:
    """Whether ``text`` holds a number that ``value`` rounds to."""
    return any(abs(abs(number) - abs(value)) <= half * 1.0001 for number, half in numbers_in(text))
