"""One row per data source: writes small data under a folder and returns the source that reads them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from membrane.data import (
    CIFAR10,
    CIFAR100,
    CINIC10,
    SVHN,
    Digits,
    ImageFolder,
    Location30,
    LongTail,
    OnDisk,
    Parquet,
    Purchase100,
    Source,
    Table,
    Texas100,
    TinyImageNet,
    Unique,
)
from tests.data import archives

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
PIXELS: Pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def encoded(pixels: Pixels, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def image_file(path: Path, pixels: Pixels, form: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(pixels, form))
    return path


def image_folder(folder: Path) -> Source:
    for i, pixels in enumerate(PIXELS):
        image_file(folder / "pets" / ("train", "test")[i >= 4] / ("cat", "dog")[i % 2] / f"{i}.png", pixels)
    return ImageFolder(str(folder / "pets"))


def parquet(folder: Path) -> Source:
    columns = {"image": [encoded(one) for one in PIXELS], "label": [0, 1] * 3, "split": ["train", "test", "train"] * 2}
    pq.write_table(pa.table(columns), folder / "pets.parquet")
    return Parquet(str(folder / "pets.parquet"))


def table(folder: Path) -> Source:
    (folder / "people.csv").write_text("age,label\n" + "".join(f"{i},{i % 2}\n" for i in range(10)))
    return Table(str(folder / "people.csv"))


ROWS: dict[str, Callable[[Path], Source]] = {
    "digits": lambda folder: Digits(),
    "image_folder": image_folder,
    "parquet": parquet,
    "table": table,
    "cifar10": lambda folder: CIFAR10(archives.cifar10(folder)),
    "cifar100": lambda folder: CIFAR100(archives.cifar100(folder)),
    "svhn": lambda folder: SVHN(archives.svhn(folder)),
    "tiny_imagenet": lambda folder: TinyImageNet(archives.tiny_imagenet(folder)),
    "cinic10": lambda folder: CINIC10(archives.cinic(folder)),
    "location30": lambda folder: Location30(archives.location(folder)),
    "purchase100": lambda folder: Purchase100(archives.purchase(folder)),
    "texas100": lambda folder: Texas100(archives.texas(folder)),
    "long_tail": lambda folder: LongTail(Digits(), 10),
    "unique": lambda folder: Unique(image_folder(folder)),
    "on_disk": lambda folder: OnDisk(str(folder / "arrays"), parquet(folder)),
}
