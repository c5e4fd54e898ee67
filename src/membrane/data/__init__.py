"""Data: sources, splits, membership, canaries and batches."""

from membrane.core.catalogue import Catalogue
from membrane.data.arrays import from_arrays, from_dataset
from membrane.data.digits import Digits
from membrane.data.examples import Examples, refuse_overlap
from membrane.data.image_folder import ImageFolder
from membrane.data.membership import complementary_pairs, without_pair
from membrane.data.parquet import Parquet
from membrane.data.source import Source, Splits
from membrane.data.task import Task, make_task

SOURCES: Catalogue[Source] = Catalogue("data source", [Digits, ImageFolder, Parquet])

__all__ = [
    "SOURCES",
    "Digits",
    "Examples",
    "ImageFolder",
    "Parquet",
    "Source",
    "Splits",
    "Task",
    "complementary_pairs",
    "from_arrays",
    "from_dataset",
    "make_task",
    "refuse_overlap",
    "without_pair",
]
