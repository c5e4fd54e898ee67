"""Training: the one loop, recipes, and the fleet of reference models."""

from membrane.training.defense import Defense, Finished, Trained
from membrane.training.fleet import Bank, train_fleet, train_model
from membrane.training.loop import fit
from membrane.training.recipe import Recipe

__all__ = ["Bank", "Defense", "Finished", "Recipe", "Trained", "fit", "train_fleet", "train_model"]
