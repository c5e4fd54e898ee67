"""Compare: defenses at their strengths, in several settings, under attackers who know them."""

from membrane.verbs.comparison.cells import Method, Range, Setting
from membrane.verbs.comparison.compare import compare
from membrane.verbs.comparison.outcome import Comparison
from membrane.verbs.comparison.search import Search
from membrane.verbs.comparison.tuned import Tuned

__all__ = ["Comparison", "Method", "Range", "Search", "Setting", "Tuned", "compare"]
