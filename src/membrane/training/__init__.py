"""Training: the one loop, recipes, and the fleet of reference models."""

from membrane.training.defense import Defense, Finished, Start, Trained
from membrane.training.fleet import Bank, train_fleet, train_model
from membrane.training.loop import fit
from membrane.training.recipe import Recipe

__all__ = ["Bank", "Defense", "Finished", "Recipe", "Start", "Trained", "fit", "train_fleet", "train_model"]
