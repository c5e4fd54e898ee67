"""Small networks trained many at a time, as one network: what a step costs besides arithmetic is then paid once."""

from membrane.training.stacked.eligible import largest_stack, stackable
from membrane.training.stacked.fit import fit_stack

__all__ = ["fit_stack", "largest_stack", "stackable"]
