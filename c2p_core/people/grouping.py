"""Groups the faces of a shoot by identity: average linkage, with what is known about pairs of faces.

scipy's hierarchical clustering is exact with such knowledge: under average linkage a pair that may not be linked, at an
enormous distance, keeps any two groups apart that contain it, and a pair at distance 0 is linked before all others.
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

# Larger than any sum of distances in a shoot, so that no average with it falls below a threshold.
_APART = 1e12
# Faces whose distances fit into memory at once: 8 bytes a pair, twice.
MOST_AT_ONCE = 8000
_ROWS = 512  # of the matrix of similarities, computed at once


@dataclass(frozen=True)
class Knowledge:
    """What is known about faces beside their likeness.

    Attributes:
        photos: (N, P) which of P photos each face, or group of faces, is on; nobody is on one photo twice.
        people: (N,) number of the person that somebody said it is; 0 where nobody said anything.
    """

    photos: csr_matrix
    people: Ints


def group_faces(vectors: Floats, photos: Sequence[int], people: Sequence[int], threshold: float) -> Ints:
    """Group faces by identity.

    Args:
        vectors: (N, D), whose products are similarities.
        photos: number of each face's photo.
        people: number of the person that somebody said each face is, 0 where nobody said anything: faces with the same
            number stay together, even on one photo, those with different numbers apart.
        threshold: mean similarity from which on two groups are one.

    Returns:
        (N,) numbers of groups, from 0.
    """
    count = len(vectors)
    labels = np.zeros(count, np.int64)
    if count == 0:
        return labels
    on = csr_matrix((np.ones(count, np.int32), (np.arange(count), _renumber(photos))))
    known = Knowledge(on, np.asarray(people, np.int64))
    offset = 0
    # Groups are connected by similarities at the threshold, so that each connected part can be grouped by itself.
    for part in find_connected(vectors, known.people, threshold):
        own = Knowledge(known.photos[part], known.people[part])
        labels[part] = offset + _group_part(vectors[part], own, threshold)
        offset = int(labels[part].max()) + 1
    return labels


def _renumber(numbers: Sequence[int]) -> Ints:
    return np.unique(np.asarray(numbers), return_inverse=True)[1].astype(np.int64)


def find_connected(vectors: Floats, people: Ints, threshold: float) -> list[Ints]:
    """The faces that chains of similar pairs, or of one person, connect, as arrays of indices."""
    count = len(vectors)
    labels = np.arange(count)
    for begin in range(0, count, _ROWS):
        block = vectors[begin : begin + _ROWS]
        near = block @ vectors.T >= threshold
        near |= (people[begin : begin + _ROWS, None] == people) & (people > 0)
        row, column = np.nonzero(np.triu(near, begin + 1))
        links = labels[row + begin], labels[column]
        # Block by block, for all links of a crowd of people who look alike would not fit into memory.
        graph = coo_matrix((np.ones(len(row), bool), links), shape=(count, count))
        labels = connected_components(graph, directed=False)[1][labels]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _group_part(vectors: Floats, known: Knowledge, threshold: float) -> Ints:
    """Group faces that fit into memory at once, or else part by part, and then the groups by their means."""
    count = len(vectors)
    if count <= MOST_AT_ONCE:
        return _link(vectors, known, threshold)
    labels = np.zeros(count, np.int64)
    offset = 0
    for begin in range(0, count, MOST_AT_ONCE):
        part = slice(begin, begin + MOST_AT_ONCE)
        own = Knowledge(known.photos[part], known.people[part])
        labels[part] = offset + _link(vectors[part], own, threshold)
        offset = int(labels[part].max()) + 1
    groups = csr_matrix((np.ones(count, np.float32), (labels, np.arange(count))))
    # The product of two means is the mean of the products, which is what average linkage compares.
    means = groups @ vectors / groups.sum(1)
    people = np.zeros(offset, np.int64)
    np.maximum.at(people, labels, known.people)
    of_groups = Knowledge(csr_matrix(groups.astype(np.int32) @ known.photos), people)
    joined: Ints = _link(np.asarray(means, np.float32), of_groups, threshold)[labels]
    return joined


def _link(vectors: Floats, known: Knowledge, threshold: float) -> Ints:
    """Average linkage of faces, or of groups by their means, cut at the threshold; numbers of groups, from 0."""
    count = len(vectors)
    if count == 1:
        return np.zeros(1, np.int64)
    top = float((vectors * vectors).sum(1).max())
    distances = np.empty(count * (count - 1) // 2)
    at = 0
    for begin in range(0, count, _ROWS):
        end = min(count, begin + _ROWS)
        block = top - (vectors[begin:end] @ vectors.T).astype(np.float64)
        block[(known.photos[begin:end] @ known.photos.T).toarray() > 0] = _APART
        said = (known.people[begin:end, None] > 0) & (known.people > 0)
        same = known.people[begin:end, None] == known.people
        block[said & ~same] = _APART
        block[said & same] = 0.0
        for row in range(begin, end):
            distances[at : at + count - row - 1] = block[row - begin, row + 1 :]
            at += count - row - 1
    np.maximum(distances, 0.0, out=distances)
    tree = linkage(distances, "average")
    return np.asarray(fcluster(tree, top - threshold, "distance"), np.int64) - 1
