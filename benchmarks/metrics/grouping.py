"""How well faces are grouped by identity."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """Agreement of two groupings of the same things: 1 for the same groups, 0 on average for random ones."""
    _, rows = np.unique(np.array(list(truth)), return_inverse=True)
    _, columns = np.unique(np.array(list(predicted)), return_inverse=True)
    contingency = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(contingency, (rows, columns), 1)
    pairs_in_both, pairs_in_truth, pairs_in_predicted = (
        _count_pairs(contingency),
        _count_pairs(contingency.sum(1)),
        _count_pairs(contingency.sum(0)),
    )
    expected = pairs_in_truth * pairs_in_predicted / max(_count_pairs(np.array([len(truth)])), 1.0)
    maximum = (pairs_in_truth + pairs_in_predicted) / 2
    return 1.0 if maximum == expected else float((pairs_in_both - expected) / (maximum - expected))


def _count_pairs(sizes: NDArray[np.float64]) -> float:
    return float((sizes * (sizes - 1) / 2).sum())
