"""The two splits that an audit draws from, from whatever form data are given in."""

from __future__ import annotations

import numpy as np

from membrane.data import Source, Splits
from membrane.data.examples import Examples


def splits_of(data: Splits | Source | Examples, seed: int) -> Splits:
    """Train and test split: as given, as loaded, or four fifths and one fifth of examples, drawn at random.

    Raises:
        DataError: If a source cannot be loaded.
    """
    if isinstance(data, Source):
        data = data.load()
    if isinstance(data, Examples):
        n_test = len(data) // 5
        order = np.random.default_rng(seed).permutation(len(data))
        return Splits(data[order[n_test:]], data[order[:n_test]])
    return data
