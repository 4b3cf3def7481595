"""Grouping faces by identity, on made-up embeddings of known people."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from c2p_core.people import grouping
from c2p_core.people.grouping import group_faces

THRESHOLD = 0.5
Embeddings = NDArray[np.float32]


def make_people(counts: list[int], seed: int = 0, spread: float = 0.04) -> tuple[Embeddings, list[int]]:
    """Unit vectors around one direction a person, and the people, in mixed order."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = rng.normal(size=(len(counts), 128))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = centres[people] + spread * rng.normal(size=(len(people), 128))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), people.tolist()


def group(vectors: Embeddings, photos: list[int] | None = None, people: list[int] | None = None) -> list[int]:
    count = len(vectors)
    groups = group_faces(vectors, photos or list(range(count)), people or [0] * count, THRESHOLD)
    return groups.tolist()  # type: ignore[no-any-return]


def is_same_partition(one: list[int], other: list[int]) -> bool:
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))


def test_faces_of_a_person_form_a_group_and_a_stranger_stays_alone() -> None:
    vectors, people = make_people([12, 7, 3, 1, 1])
    assert is_same_partition(group(vectors), people)


def test_without_faces_or_with_one_there_is_nothing_to_group() -> None:
    assert group(np.zeros((0, 8), np.float32)) == []
    assert group(make_people([1])[0]) == [0]


def test_two_faces_of_one_photo_are_two_people_however_alike() -> None:
    vectors, _ = make_people([2, 2], spread=0.001)
    twins = np.repeat(vectors[:1], 4, axis=0)
    groups = group(twins, photos=[0, 0, 1, 1])
    assert groups[0] != groups[1] and groups[2] != groups[3]
    assert len(set(groups)) == 2


def test_named_people_are_joined_even_on_one_photo_and_kept_apart() -> None:
    vectors, _ = make_people([6, 2], seed=3)
    far = [int(np.argmin(vectors @ vectors[0])), 0]
    people = [0] * 8
    for index in far:
        people[index] = 4
    joined = group(vectors, people=people)
    assert joined[far[0]] == joined[0]
    assert group(vectors[far], photos=[0, 0], people=[4, 4]) == [0, 0]
    identical = np.repeat(vectors[:1], 3, axis=0)
    parted = group(identical, people=[1, 2, 0])
    assert parted[0] != parted[1]


def test_grouping_in_parts_equals_comparing_all_faces_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    vectors, people = make_people([20, 15, 9, 1, 1], seed=5)
    # A direction that all share connects them all, so that they can't be told apart before they are compared.
    together = vectors + 1.2 * rng.normal(size=(1, 128)).astype(np.float32) / 128**0.5
    together /= np.linalg.norm(together, axis=1, keepdims=True)
    threshold = 0.8
    at_once = group_faces(together, range(len(people)), [0] * len(people), threshold)
    monkeypatch.setattr(grouping, "MAX_FACES_AT_ONCE", 16)
    monkeypatch.setattr(grouping, "find_connected", lambda vectors, *_: [np.arange(len(vectors))])
    parts = group_faces(together, range(len(people)), [0] * len(people), threshold)
    assert is_same_partition(at_once.tolist(), people) and is_same_partition(parts.tolist(), people)


def test_a_large_shoot_is_grouped_in_seconds() -> None:
    vectors, people = make_people([50] * 60 + [1] * 200)
    assert is_same_partition(group(vectors), people)
