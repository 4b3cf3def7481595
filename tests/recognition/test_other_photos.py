"""What other photos lost when that was measured: the file, the verdict of a face, what more strength would bring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from c2p_core.api import ProtectRequest, Similarity, Stronger
from c2p_core.errors import ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition.other_photos import OtherPhotos, find_stronger, read_other_photos
from tests.error_assertions import raising

NOTHING = Photo(np.zeros((1, 1, 3), np.uint8))
USUAL = ProtectRequest(NOTHING, strength=0.5, prior="makeup")
MEASURED = OtherPhotos("makeup", {}, ((0.25, 0.4), (0.5, 0.6), (1.0, 0.9)))


@pytest.mark.parametrize(
    ("after", "others", "same"),
    [
        (0.30, "lost", "protected"),
        (0.45, "lost", "mostly protected"),
        (0.47, "lost", "mostly protected"),
        (0.48, "may match", "mostly protected"),
        (0.70, "may match", "recognised"),
    ],
)
def test_other_photos_are_lost_up_to_the_measured_similarity_regardless_of_the_same_photos_verdict(
    after: float, others: str, same: str
) -> None:
    similarity = Similarity("r", "f", True, 0.99, after, far1=0.40, far01=0.60, other_photos_up_to=0.47)
    assert (similarity.other_photos, similarity.verdict) == (others, same)


def test_without_a_measurement_there_is_no_verdict_and_without_a_low_enough_value_it_may_match() -> None:
    similarity = Similarity("r", "f", True, 0.99, -0.1, far1=0.40, far01=0.60)
    assert similarity.other_photos is None
    assert replace(similarity, other_photos_up_to=-1.0).other_photos == "may match"


def test_shares_at_other_strengths_are_interpolated() -> None:
    assert find_stronger(MEASURED, replace(USUAL, strength=0.25)) == Stronger(0.25, 0.4, 0.5, 0.6)
    assert find_stronger(MEASURED, USUAL) == Stronger(0.5, 0.6, 0.75, 0.75)
    assert find_stronger(MEASURED, replace(USUAL, strength=0.3)) == Stronger(0.3, 0.44, 0.55, 0.63)
    assert find_stronger(MEASURED, replace(USUAL, strength=0.9)) == Stronger(0.9, 0.84, 1.0, 0.9)


@pytest.mark.parametrize(
    "request_",
    [
        replace(USUAL, strength=0.2),
        replace(USUAL, strength=1.0),
        replace(USUAL, prior="stylegan2"),
        replace(USUAL, mode="decoy"),
        replace(USUAL, steps=20),
        replace(USUAL, keep_expression=False),
        replace(USUAL, locks=("nose",)),
        replace(USUAL, hold_out="faceres"),
        replace(USUAL, recognisers=("dlib-resnet",)),
        replace(USUAL, original=NOTHING),
    ],
)
def test_there_is_no_comparison_for_settings_that_were_not_measured(request_: ProtectRequest) -> None:
    assert find_stronger(MEASURED, request_) is None


@pytest.mark.parametrize("strengths", [(), ((0.5, 0.6),)])
def test_there_is_no_comparison_without_a_higher_measured_strength(strengths: tuple[tuple[float, float], ...]) -> None:
    assert find_stronger(replace(MEASURED, strengths=strengths), USUAL) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"prior": "makeup", "recognisers": {"a": {}}, "strengths": []}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other-photos.json").write_text(text)
    with raising(ModelUnavailable, "other-photos-unreadable"):
        read_other_photos(tmp_path / "other-photos.json")


def test_the_shipped_figures_are_within_the_ranges_of_cosines_and_shares() -> None:
    shipped = read_other_photos(ModelStore(offline=True).obtain("other-photos"))
    assert shipped.up_to and all(-1 <= up_to < 1 for up_to in shipped.up_to.values())
    assert shipped.strengths and all(0 < strength <= 1 and 0 <= lost <= 1 for strength, lost in shipped.strengths)
