"""Small networks trained many at a time, as one network: what a step costs besides arithmetic is then paid once."""

from membrane.training.stacked.eligible import STACK, stackable
from membrane.training.stacked.fit import fit_stack

__all__ = ["STACK", "fit_stack", "stackable"]
