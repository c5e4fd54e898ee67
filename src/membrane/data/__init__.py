"""Data: sources, splits, membership, canaries and batches."""

from membrane.core.catalogue import Catalogue
from membrane.data.archives import (
    CIFAR10,
    CIFAR100,
    CINIC10,
    SVHN,
    Location30,
    Purchase100,
    Texas100,
    TinyImageNet,
)
from membrane.data.arrays import from_arrays, from_dataset, from_npy
from membrane.data.canaries import CANARIES, Canary
from membrane.data.digits import Digits
from membrane.data.duplicates import find_duplicates, refuse_overlap
from membrane.data.examples import Examples
from membrane.data.huggingface import from_huggingface
from membrane.data.image_folder import ImageFolder
from membrane.data.long_tail import LongTail
from membrane.data.membership import complementary_pairs, without_pair
from membrane.data.on_disk import OnDisk
from membrane.data.parquet import Parquet
from membrane.data.queries import Queries
from membrane.data.source import Source, Splits
from membrane.data.table import Table
from membrane.data.task import Task, make_task
from membrane.data.unique import Unique

SOURCES: Catalogue[Source] = Catalogue(
    "data source",
    [
        Digits,
        ImageFolder,
        Parquet,
        Table,
        CIFAR10,
        CIFAR100,
        CINIC10,
        SVHN,
        TinyImageNet,
        Location30,
        Purchase100,
        Texas100,
        LongTail,
        Unique,
        OnDisk,
    ],
)

__all__ = [
    "CANARIES",
    "CIFAR10",
    "CIFAR100",
    "CINIC10",
    "SOURCES",
    "SVHN",
    "Canary",
    "Digits",
    "Examples",
    "ImageFolder",
    "Location30",
    "LongTail",
    "OnDisk",
    "Parquet",
    "Purchase100",
    "Queries",
    "Source",
    "Splits",
    "Table",
    "Task",
    "Texas100",
    "TinyImageNet",
    "Unique",
    "complementary_pairs",
    "find_duplicates",
    "from_arrays",
    "from_dataset",
    "from_huggingface",
    "from_npy",
    "make_task",
    "refuse_overlap",
    "without_pair",
]
