"""Text on its way into HTML: escaped, with numbers kept in one piece and arXiv numbers made links."""

from __future__ import annotations

import re
from html import escape

_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_INTERVAL = re.compile(r"\d[\d.]*–\d[\d.]*")


class Safe(str):
    """Markup that the template must not escape again: our own files and drawings, and what was escaped here."""

    __slots__ = ()

    def __html__(self) -> str:
        """The markup, as the template engine asks for it."""
        return str(self)


def linked(text: str) -> Safe:
    """Escaped text with its arXiv numbers turned into links, the only addresses in the page."""
    return Safe(_ARXIV.sub(r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">arXiv:\1</a>', escape(text)))


def whole(text: str) -> str:
    """Text of a column head, its rate unbroken."""
    return text.replace(" % FPR", "\u00a0%\u00a0FPR").replace(" %", "\u00a0%")


def tidy(text: str) -> Safe:
    """Escaped text whose numbers stay on one line: a number with its sign, an interval in one piece."""
    return Safe(_INTERVAL.sub(r'<span class="nb">\g<0></span>', escape(text).replace(" %", "\u00a0%")))
