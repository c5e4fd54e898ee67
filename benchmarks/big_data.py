"""A set larger than the memory that may be used: one model trained on all of it, then asked about all of it.

    python benchmarks/big_data.py FOLDER [--gb 5] [--limit-gb 2] [--side 64]

Writes FOLDER/big-data (random images with a faint class pattern), decodes nothing, trains one epoch over every image,
reads signals of every image, prints the peak of the process's resident memory and its ratio to the limit, and removes
what it wrote. Ends with status 1 if the limit was exceeded. The peak is the kernel's own, VmHWM, over the life of the
process, import of torch included; files are read, not mapped, so pages that the system caches are not part of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch

from membrane.core.generators import numpy_generator
from membrane.data import Examples, from_npy
from membrane.data.inputs import Rows
from membrane.models import MLP, signals_of
from membrane.training import Recipe, fit

CLASSES = 10
FILE_BYTES = 1 << 26


def generate(folder: Path, n_bytes: float, side: int) -> tuple[list[Path], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Files of uint8 images (N, 3, side, side) and their labels (N,)."""
    rng = numpy_generator(0, "big data")
    rows = FILE_BYTES // (3 * side * side)
    files, labels = [], []
    for number in range(max(round(n_bytes / FILE_BYTES), 1)):
        y = rng.integers(CLASSES, size=rows)
        x = rng.integers(0, 200, (rows, 3, side, side), dtype=np.uint8)
        x += (5 * y).astype(np.uint8)[:, None, None, None]
        files.append(folder / f"x-{number:05}.npy")
        np.save(files[-1], x)
        labels.append(y)
    return files, np.concatenate(labels)


def peak_bytes() -> int:
    """Most resident memory that this process has had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def run(examples: Examples) -> None:
    """Train once over all examples, then read signals of all."""
    model = MLP(widths=(32,))  # small, so that the time goes into moving data
    start = time.perf_counter()
    trained = fit(Recipe(model=model, epochs=1, batch_size=512, lr=0.05), examples, None, seed=0)
    print(
        f"trained   {len(examples):,} images, one epoch   {time.perf_counter() - start:6.0f} s   {_peak()}", flush=True
    )
    start = time.perf_counter()
    signals = signals_of(trained.model, examples, 500)
    print(
        f"signals   of {len(signals.loss):,} images         {time.perf_counter() - start:6.0f} s   {_peak()}",
        flush=True,
    )
    print(f"accuracy  {signals.correct.mean():.3f}, guessing would give {1 / CLASSES:.3f}")


def _peak() -> str:
    return f"peak {peak_bytes() / 2**30:.2f} GiB"


def main() -> int:
    """Generate, train, measure, remove."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the data may lie for the time being")
    parser.add_argument("--gb", type=float, default=5, help="size of the inputs, 10^9 bytes")
    parser.add_argument("--limit-gb", type=float, default=2, help="most resident memory, GiB")
    parser.add_argument("--side", type=int, default=64, help="side of an image in pixels")
    settings = parser.parse_args()
    folder = settings.folder / "big-data"
    folder.mkdir(parents=True)
    try:
        if shutil.disk_usage(folder).free < 1.2e9 * settings.gb:
            print(f"{folder} has too little room for {settings.gb:g} GB")
            return 2
        start = time.perf_counter()
        files, y = generate(folder, 1e9 * settings.gb, settings.side)
        examples = from_npy(files, y)
        assert isinstance(examples.x, Rows)
        size = examples.x.nbytes
        print(
            f"generated {size / 1e9:.2f} GB in {len(files)} files     {time.perf_counter() - start:6.0f} s   {_peak()}",
            flush=True,
        )
        run(examples)
        start = time.perf_counter()
        print(f"checksum  {examples.checksum()}              {time.perf_counter() - start:6.0f} s   {_peak()}")
    finally:
        shutil.rmtree(folder)
    limit = settings.limit_gb * 2**30
    print(
        f"peak resident memory {peak_bytes() / 2**30:.2f} GiB, {peak_bytes() / limit:.2f} of the limit of "
        f"{settings.limit_gb:g} GiB, {peak_bytes() / size:.2f} of the data's size"
    )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    return int(peak_bytes() > limit)


if __name__ == "__main__":
    sys.exit(main())
