"""Degradations of published pictures, and the plotted report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data

from c2p_core import robustness
from c2p_core.api import Face, FaceReport, RobustnessResult, Similarity
from c2p_core.errors import Message
from c2p_core.io import plot
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import load_recognisers
from c2p_core.robustness import DEGRADATIONS, UPLOAD_WIDTH, simulate_photo_upload

ASTRONAUT = data.astronaut()
FACE_BOX = (180.0, 70.0, 270.0, 190.0)
BY_NAME = {degradation.name: degradation for degradation in DEGRADATIONS}


def error(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(((first.astype(float) - second) ** 2).mean()))


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=lambda degradation: degradation.name)
def test_each_degradation_is_deterministic_and_changes_the_picture_moderately(degradation: object) -> None:
    first, second = (degradation.apply(ASTRONAUT, 1.0) for _ in range(2))  # type: ignore[attr-defined]
    assert first.dtype == np.uint8 and first.shape == ASTRONAUT.shape
    assert np.array_equal(first, second)
    # Cropping moves the picture, which makes the difference larger than it looks.
    assert 0 < error(ASTRONAUT, first) < 60


def test_more_severe_degradations_change_the_picture_more() -> None:
    for names in (
        ("JPEG 95", "JPEG 85", "JPEG 70", "JPEG 50"),
        ("resize 50 %", "resize 25 %"),
        ("mean 3x3", "mean 5x5"),
    ):
        errors = [error(ASTRONAUT, BY_NAME[name].apply(ASTRONAUT, 1.0)) for name in names]
        assert errors == sorted(errors)


def test_the_mean_filter_agrees_with_scipy() -> None:
    expected = ndimage.uniform_filter(ASTRONAUT.astype(float), (5, 5, 1), mode="nearest")
    assert np.abs(BY_NAME["mean 5x5"].apply(ASTRONAUT, 1.0)[8:-8, 8:-8] - expected[8:-8, 8:-8]).max() <= 1.0


def test_noise_has_its_strength_and_gamma_its_exponent() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert BY_NAME["noise 0.02"].apply(grey, 1.0).std() == pytest.approx(0.02 * 255, rel=0.05)
    assert BY_NAME["gamma 0.8"].apply(grey, 1.0)[0, 0, 0] == round((128 / 255) ** 0.8 * 255)


def test_an_upload_is_1080_pixels_wide() -> None:
    wide = Photo(np.zeros((900, 2160, 3), np.uint8))
    assert simulate_photo_upload(wide, UPLOAD_WIDTH / 2160).pixels.shape == (450, 1080, 3)


def face_at(box: tuple[float, float, float, float]) -> Face:
    xs, ys = np.linspace(box[0], box[2], 468), np.linspace(box[1], box[3], 468)
    return Face(1, box, 1.0, np.stack([xs, ys], 1).astype(np.float32), 60.0)


@pytest.mark.parametrize("name", ["crop 5 %", "social network", "resize 25 %"])
def test_degrading_moves_the_face_with_its_pixels(name: str) -> None:
    """A white square on black lies around the point that the face's centre is mapped to."""
    picture = np.zeros((700, 800, 3), np.uint8)
    picture[300:340, 500:540] = 255
    cutout = robustness.Cutout(picture, face_at((500, 300, 540, 340)), upload=0.4)
    degraded, expected = robustness.degrade(cutout, BY_NAME[name])
    rows, columns = np.nonzero(degraded[..., 0] > 128)
    assert expected.mesh.mean(0) == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5], abs=0.6)


def test_a_large_face_is_cut_out_downscaled_and_its_upload_factor_accounts_for_it() -> None:
    large = Photo(np.zeros((3000, 4000, 3), np.uint8))
    face = replace(face_at((1600, 1100, 2400, 1900)), eye_distance=480.0)
    cutout = robustness.cut_out_face(large, face)
    assert cutout.face.eye_distance == 160.0
    assert max(cutout.picture.shape) <= 2 * 3.3 * 160 + 2
    assert cutout.upload == pytest.approx(3 * 1080 / 4000)


@pytest.mark.slow
def test_an_unprotected_face_is_recognised_after_every_degradation(store: ModelStore, astronaut_face: Face) -> None:
    device = torch.device("cpu")
    recognisers = load_recognisers(("dlib-resnet", "mobileface"), store, device)
    photo = Photo(ASTRONAUT)
    rows = robustness.measure_robustness(photo, astronaut_face, photo, astronaut_face, recognisers, store, device)
    assert [row.degradation for row in rows] == [degradation.name for degradation in DEGRADATIONS]
    for row in rows:
        for similarity in row.similarities:
            assert similarity.verdict == "recognised" and similarity.before > similarity.far01, row.degradation
            assert similarity.after == pytest.approx(similarity.before, abs=0.08)


def report(*after: float, degraded: bool = True, number: int = 1) -> FaceReport:
    said = tuple(Similarity(f"r{i}", "f", True, 1.0, value, 0.5, 0.7) for i, value in enumerate(after))
    results = tuple(RobustnessResult(d.name, said if i else ()) for i, d in enumerate(DEGRADATIONS)) if degraded else ()
    return FaceReport(number, FACE_BOX, 40.0, similarities=said, robustness=results)


def test_a_page_shows_a_bar_of_each_verdict_and_what_survives(tmp_path: Path) -> None:
    made = plot.page(Photo(ASTRONAUT), Photo(ASTRONAUT // 2), [report(0.2, 0.6, 0.9)], "me.jpg").pixels
    plain = plot.page(Photo(ASTRONAUT), Photo(ASTRONAUT // 2), [report(0.2, 0.6, 0.9, degraded=False)], "me.jpg").pixels
    assert made.shape[1] == 1400 and made.shape[0] > plain.shape[0]
    for verdict, colour in plot.COLOURS.items():
        assert (made == colour).all(-1).sum() > (plain == colour).all(-1).sum() > 300, verdict
    assert (made == plot.NO_FACE).all(-1).sum() > 3 * 300 + (plain == plot.NO_FACE).all(-1).sum()
    Image.fromarray(made).save(tmp_path / "page.png")


def test_a_page_shows_the_protected_face_where_a_resized_picture_has_it() -> None:
    small = Photo(np.asarray(Image.fromarray(ASTRONAUT).resize((256, 256))))
    same, resized = (
        plot.page(Photo(ASTRONAUT), after, [report(0.2)], "").pixels for after in (Photo(ASTRONAUT), small)
    )
    assert error(same, resized) < 6


def test_a_page_has_room_for_four_faces_and_says_how_many_more_there_are() -> None:
    four, six = (
        plot.page(Photo(ASTRONAUT), Photo(ASTRONAUT), [report(0.2, number=n) for n in range(1, count + 1)], "").pixels
        for count in (4, 6)
    )
    assert four.shape == six.shape
    assert not np.array_equal(four[-80:], six[-80:])


def test_a_skipped_face_and_one_at_the_edge_are_shown() -> None:
    edge = FaceReport(1, (-20.0, -30.0, 60.0, 70.0), 40.0, skipped=Message("eyes-too-close", distance=12, least=40))
    assert plot.page(Photo(ASTRONAUT), Photo(ASTRONAUT), [edge], "").pixels.shape[1] == 1400
