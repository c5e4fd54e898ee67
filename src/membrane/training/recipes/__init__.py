"""Recipes by name, each with its source and with what was measured under it.

Left out: the anti-overfitting recipe of arXiv:2603.07567 (2026). It rotates and recolours images, drops units inside a
ResNet and spares biases from weight decay, none of which a ``Recipe`` says; and its code keeps the epoch that does best
on the test split, which no result here may do. Defense ``cutmix`` with ``augment`` is the nearest.
"""

from membrane.core.catalogue import Catalogue
from membrane.training.recipes.aerni import AerniCifar10
from membrane.training.recipes.fast import FastCifar10, FastLocation30
from membrane.training.recipes.lab import LabCifar10, LabCifar100
from membrane.training.recipes.named import NamedRecipe

RECIPES: Catalogue[NamedRecipe] = Catalogue(
    "recipe", (LabCifar10, LabCifar100, AerniCifar10, FastCifar10, FastLocation30)
)

__all__ = ["RECIPES", "NamedRecipe"]
