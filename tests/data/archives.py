"""Small archives laid out like the published ones, and what makes a source take them for those."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from membrane.data import Source
from membrane.data.archives.archive import Archive

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def trusted(source: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The source, its published files taken to be those that lie there."""
    if isinstance(source, Archive):
        found = []
        for original in source.originals:
            path = Path(source.path)
            with (path if path.is_file() else path / original.file).open("rb") as content:
                found.append(dataclasses.replace(original, digest=original.digest_of(content)))
        monkeypatch.setattr(type(source), "originals", tuple(found))
    return source


def noise(n: int, side: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def encoded(pixels: Pixels, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def zipped(path: Path, members: Mapping[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def cifar_records(labels: list[list[int]], seed: int) -> bytes:
    """Labels, then 1024 red, 1024 green and 1024 blue values."""
    pixels = noise(len(labels), 32, seed).transpose(0, 3, 1, 2)
    return b"".join(bytes(one) + image.tobytes() for one, image in zip(labels, pixels, strict=True))


def cifar10(folder: Path) -> str:
    batches = {f"cifar-10-batches-bin/data_batch_{i}.bin": cifar_records([[i % 3], [0]], i) for i in range(1, 6)}
    members = {
        "cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\nbird\n\n",
        **batches,
        "cifar-10-batches-bin/readme.html": b"<html>",
        "cifar-10-batches-bin/test_batch.bin": cifar_records([[2], [1], [0]], 6),
    }
    return tar(folder / "cifar-10-binary.tar.gz", members)


def cifar100(folder: Path) -> str:
    members = {
        "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers\n",
        "cifar-100-binary/fine_label_names.txt": b"ray\nshark\nrose\n",
        "cifar-100-binary/train.bin": cifar_records([[0, 1], [1, 2], [0, 0]], 0),
        "cifar-100-binary/test.bin": cifar_records([[1, 2], [0, 0]], 1),
    }
    return tar(folder / "cifar-100-binary.tar.gz", members)


def svhn(folder: Path) -> str:
    for part, labels in (("train", [1, 10, 5, 9]), ("test", [10, 2])):
        x = noise(len(labels), 32, len(labels)).transpose(1, 2, 3, 0)
        y = np.array(labels, dtype=np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": x, "y": y}, do_compression=True)
    return str(folder)


def tiny_members() -> dict[str, bytes]:
    images = [encoded(one, "JPEG") for one in noise(6, 64)]
    root = "tiny-imagenet-200"
    return {
        f"{root}/wnids.txt": b"n02\nn01\n",
        f"{root}/words.txt": b"n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tbullfrog\n",
        f"{root}/train/n02/images/n02_0.JPEG": images[0],
        f"{root}/train/n02/images/n02_1.JPEG": images[1],
        f"{root}/train/n01/images/n01_0.JPEG": images[2],
        f"{root}/train/n01/n01_boxes.txt": b"n01_0.JPEG\t0\t10\t63\t58\n",
        f"{root}/val/val_annotations.txt": b"val_0.JPEG\tn01\t0\t32\t44\t62\nval_1.JPEG\tn02\t1\t2\t3\t4\n",
        f"{root}/val/images/val_0.JPEG": images[3],
        f"{root}/val/images/val_1.JPEG": images[4],
        f"{root}/test/images/test_0.JPEG": images[5],
    }


def tiny_imagenet(folder: Path) -> str:
    return zipped(folder / "tiny-imagenet-200.zip", tiny_members())


def cinic(folder: Path) -> str:
    names = ["train/cat/a", "valid/dog/b", "test/ship/c", "train/airplane/d", "test/cat/e", "valid/cat/f"]
    members = {f"./{name}.png": encoded(image, "PNG") for name, image in zip(names, noise(6, 32), strict=True)}
    return tar(folder / "CINIC-10.tar.gz", {"./README.md": b"x"} | members)


RECORDS = b'"2",0,1,1\n1,1,0,0\n"3",0,0,0\n1,1,1,1\n2,0,0,1\n'


def location(folder: Path, records: bytes = RECORDS) -> str:
    return tar(folder / "dataset_location.tgz", {"bangkok": records})


def purchase(folder: Path) -> str:
    return tar(folder / "dataset_purchase.tgz", {"dataset_purchase": RECORDS})


def texas(folder: Path) -> str:
    features = b"0,1,1\n1,0,0\n0,0,0\n1,1,1\n0,0,1\n"
    return tar(folder / "dataset_texas.tgz", {"texas/100/labels": b"2\n1\n3\n1\n2\n", "texas/100/feats": features})
