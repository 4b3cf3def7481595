"""How well faces are grouped by identity."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Agreement of two groupings of the same things: 1 for the same groups, 0 on average for random ones."""
    _, rows = np.unique(np.array(list(truth)), return_inverse=True)
    _, columns = np.unique(np.array(list(found)), return_inverse=True)
    shared = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(shared, (rows, columns), 1)
    together, own, other = _count_pairs(shared), _count_pairs(shared.sum(1)), _count_pairs(shared.sum(0))
    expected = own * other / max(_count_pairs(np.array([len(truth)])), 1.0)
    most = (own + other) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def _count_pairs(sizes: NDArray[np.float64]) -> float:
    return float((sizes * (sizes - 1) / 2).sum())
