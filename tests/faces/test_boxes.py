"""Which face is meant by where it is."""

from __future__ import annotations

import pytest

from c2p_core.api import Box, FaceReport
from c2p_core.errors import NoFace
from c2p_core.faces.boxes import box_iou, find_face_number, match_face
from tests.error_assertions import raising

CHEEK_TO_CHEEK = [FaceReport(1, (0, 0, 100, 100), 40.0), FaceReport(2, (45, 0, 135, 100), 40.0)]


@pytest.mark.parametrize(("box", "number"), [((2, 0, 100, 98), 1), ((48, 2, 135, 100), 2)])
def test_of_two_overlapping_faces_the_one_with_more_overlap_matches(box: Box, number: int) -> None:
    assert find_face_number(box, CHEEK_TO_CHEEK) == number


def test_a_face_with_little_overlap_does_not_match() -> None:
    assert match_face((120, 0, 220, 100), CHEEK_TO_CHEEK) is None
    with raising(NoFace, "face-gone"):
        find_face_number((120, 0, 220, 100), CHEEK_TO_CHEEK)


def test_box_iou_is_the_intersection_over_the_union() -> None:
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 2, 2), (2, 0, 4, 2)) == 0.0
