"""Groups the faces of a shoot by identity: average linkage with constraints on pairs of faces.

scipy's hierarchical clustering meets such constraints exactly: under average linkage, a pair that may not be linked, at
an enormous distance, keeps apart any two groups that contain it, and a pair at distance 0 is linked before all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# A distance larger than any sum of distances in a shoot, so that no average that includes it falls below a threshold.
_CANNOT_LINK = 1e12
# Faces whose distances fit into memory together: 8 bytes a pair, twice.
MAX_FACES_AT_ONCE = 8000
_BLOCK_ROWS = 512  # rows of the similarity matrix computed together


@dataclass(frozen=True)
class Constraints:
    """What is known about faces apart from their similarity.

    Attributes:
        photos: (N, P) which of P photos each face, or group of faces, is on; nobody is on one photo twice.
        people: (N,) number of the person that somebody named; 0 where nobody did.
    """

    photos: csr_matrix
    people: Ints


def group_faces(vectors: Floats, photos: Sequence[int], people: Sequence[int], threshold: float) -> Ints:
    """Group faces by identity.

    Args:
        vectors: (N, D), whose products are similarities.
        photos: number of each face's photo.
        people: number of the person that somebody named for each face, 0 where nobody did: faces with the same number
            stay together, even on one photo; faces with different numbers stay apart.
        threshold: mean similarity at which two groups become one.

    Returns:
        (N,) group numbers, from 0.
    """
    count = len(vectors)
    labels = np.zeros(count, np.int64)
    if count == 0:
        return labels
    membership = csr_matrix((np.ones(count, np.int32), (np.arange(count), _renumber(photos))))
    constraints = Constraints(membership, np.asarray(people, np.int64))
    offset = 0
    # No group reaches beyond a connected component at the threshold, so that each component can be grouped by itself.
    for part in find_connected(vectors, constraints.people, threshold):
        part_constraints = Constraints(constraints.photos[part], constraints.people[part])
        labels[part] = offset + _group_part(vectors[part], part_constraints, threshold)
        offset = int(labels[part].max()) + 1
    return labels


def _renumber(numbers: Sequence[int]) -> Ints:
    return np.unique(np.asarray(numbers), return_inverse=True)[1].astype(np.int64)


def find_connected(vectors: Floats, people: Ints, threshold: float) -> list[Ints]:
    """Connected components of faces, linked by similarity or by a named person, as arrays of indices."""
    count = len(vectors)
    labels = np.arange(count)
    for begin in range(0, count, _BLOCK_ROWS):
        block = vectors[begin : begin + _BLOCK_ROWS]
        linked = block @ vectors.T >= threshold
        linked |= (people[begin : begin + _BLOCK_ROWS, None] == people) & (people > 0)
        row, column = np.nonzero(np.triu(linked, begin + 1))
        links = labels[row + begin], labels[column]
        # Block by block: all links of a crowd of people who look alike would not fit into memory.
        graph = coo_matrix((np.ones(len(row), bool), links), shape=(count, count))
        labels = connected_components(graph, directed=False)[1][labels]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _group_part(vectors: Floats, constraints: Constraints, threshold: float) -> Ints:
    """Group faces, part by part if they don't fit into memory together, and then the groups by their means."""
    count = len(vectors)
    if count <= MAX_FACES_AT_ONCE:
        return _link(vectors, constraints, threshold)
    labels = np.zeros(count, np.int64)
    offset = 0
    for begin in range(0, count, MAX_FACES_AT_ONCE):
        part = slice(begin, begin + MAX_FACES_AT_ONCE)
        part_constraints = Constraints(constraints.photos[part], constraints.people[part])
        labels[part] = offset + _link(vectors[part], part_constraints, threshold)
        offset = int(labels[part].max()) + 1
    groups = csr_matrix((np.ones(count, np.float32), (labels, np.arange(count))))
    # The product of two means is the mean of the products, which is what average linkage compares.
    means = groups @ vectors / groups.sum(1)
    people = np.zeros(offset, np.int64)
    np.maximum.at(people, labels, constraints.people)
    group_constraints = Constraints(csr_matrix(groups.astype(np.int32) @ constraints.photos), people)
    group_labels: Ints = _link(np.asarray(means, np.float32), group_constraints, threshold)[labels]
    return group_labels


def _link(vectors: Floats, constraints: Constraints, threshold: float) -> Ints:
    """Average linkage of faces, or of groups by their means, cut at the threshold; group numbers, from 0."""
    count = len(vectors)
    if count == 1:
        return np.zeros(1, np.int64)
    top = float((vectors * vectors).sum(1).max())
    distances = np.empty(count * (count - 1) // 2)
    position = 0
    for begin in range(0, count, _BLOCK_ROWS):
        end = min(count, begin + _BLOCK_ROWS)
        block = top - (vectors[begin:end] @ vectors.T).astype(np.float64)
        block[(constraints.photos[begin:end] @ constraints.photos.T).toarray() > 0] = _CANNOT_LINK
        both_named = (constraints.people[begin:end, None] > 0) & (constraints.people > 0)
        same_person = constraints.people[begin:end, None] == constraints.people
        block[both_named & ~same_person] = _CANNOT_LINK
        block[both_named & same_person] = 0.0
        for row in range(begin, end):
            distances[position : position + count - row - 1] = block[row - begin, row + 1 :]
            position += count - row - 1
    np.maximum(distances, 0.0, out=distances)
    tree = linkage(distances, "average")
    return np.asarray(fcluster(tree, top - threshold, "distance"), np.int64) - 1
