"""Training: the one loop, recipes, and the fleet of reference models."""

from membrane.training.defense import Defense, Finished, Start, Trained
from membrane.training.fleet import Bank, sweep_fleet, train_fleet
from membrane.training.loop import fit
from membrane.training.recipe import Recipe
from membrane.training.recipes import RECIPES
from membrane.training.trainings import train_model

__all__ = [
    "RECIPES",
    "Bank",
    "Defense",
    "Finished",
    "Recipe",
    "Start",
    "Trained",
    "fit",
    "sweep_fleet",
    "train_fleet",
    "train_model",
]
