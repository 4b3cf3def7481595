"""The list of faces: its file, labels, and numbers that stay when photos are added."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from c2p_core.errors import UnreadableImage
from c2p_core.people.listing import (
    ListedFace,
    Listing,
    carry_groups,
    count_photos,
    find_labelled,
    name_photo,
    number_groups,
    read_listing,
    write_listing,
)
from c2p_core.people.looks_file import FaceLabel
from tests.error_assertions import raising

FACES = (
    ListedFace("a.jpg", 1, (0.0, 0.0, 100.0, 120.0), 1),
    ListedFace("a.jpg", 2, (90.0, 0.0, 180.0, 110.0), 2),
    ListedFace("b.jpg", 1, (10.0, 10.0, 60.0, 70.0), 0),
)


def test_a_written_list_is_read_and_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "faces.json"
    for faces in (FACES, FACES[:1]):
        write_listing(path, Listing(("a.jpg", 'b".jpg'), faces))
        assert read_listing(path) == Listing(("a.jpg", 'b".jpg'), faces)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_missing_list_is_empty_and_an_invalid_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "faces.json"
    assert read_listing(path) == Listing()
    path.write_text('{"faces": [{}]}')
    with raising(UnreadableImage, "faces-not-read"):
        read_listing(path)


def test_photo_paths_are_relative_to_the_list_so_that_both_can_move(tmp_path: Path) -> None:
    assert name_photo(tmp_path / "shoot" / "x" / "a.jpg", tmp_path / "people") == "../shoot/x/a.jpg"


def test_a_label_names_the_face_that_contains_it_or_the_nearest_of_two() -> None:
    # Both faces hold the second one, whose centres are 42 and 43 pixels away.
    indices, missing = find_labelled([FACES[1].label, FaceLabel("a.jpg", 92, 60), FaceLabel("b.jpg", 500, 500)], FACES)
    assert indices == {0, 1}
    assert FACES[1].label == FaceLabel("a.jpg", 135, 55)
    assert missing == [FaceLabel("b.jpg", 500, 500)]


def test_a_face_keeps_its_group_by_photo_and_place() -> None:
    moved = ListedFace("a.jpg", 1, (5.0, 5.0, 104.0, 122.0), 0)
    assert carry_groups([moved, ListedFace("b.jpg", 1, (200, 200, 300, 300), 0)], FACES) == [1, 0]


def test_new_groups_are_numbered_by_size_and_a_single_face_has_no_number() -> None:
    assert number_groups([0, 1, 1, 2, 2, 2], [0] * 6, [0] * 6, ()) == [0, 2, 2, 1, 1, 1]


def test_numbers_stay_when_photos_are_added_and_new_people_get_new_ones() -> None:
    #           person 2 grows       person 1          a new one
    labels = [0, 0, 0, 0, 1, 1, 2, 2]
    before = [2, 2, 0, 0, 1, 0, 0, 0]
    assert number_groups(labels, before, [0] * 8, {5}) == [2, 2, 2, 2, 1, 1, 6, 6]


def test_a_group_that_falls_apart_leaves_its_number_to_the_larger_part() -> None:
    assert number_groups([0, 0, 0, 1, 1], [1] * 5, [0] * 5, ()) == [1, 1, 1, 2, 2]


def test_a_named_person_keeps_the_number_even_with_one_face() -> None:
    assert number_groups([0, 1, 1], [0, 4, 4], [4, 0, 0], ()) == [4, 5, 5]


@pytest.mark.parametrize(("merged", "counts"), [({}, {1: (1, 1), 2: (1, 1)}), ({2: 1}, {1: (1, 2)})])
def test_photos_are_counted_once(merged: dict[int, int], counts: dict[int, tuple[int, int]]) -> None:
    assert count_photos(FACES, merged) == counts
