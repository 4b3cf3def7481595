"""All faces are found: turned, at the border, small, several; and known ones are found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.api import Face
from c2p_core.errors import Message
from c2p_core.faces import find_again, find_faces, refine_face
from c2p_core.faces.detect import face_overlap, remove_overlaps
from c2p_core.faces.size import MIN_EYE_DISTANCE, explain_too_small
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo


def scale_photo(factor: float) -> np.ndarray:
    picture = Image.fromarray(data.astronaut())
    return np.asarray(picture.resize((round(512 * factor), round(512 * factor)), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_the_same_face_is_detected_in_a_turned_picture(
    astronaut_face: Face, store: ModelStore, quarter_turns: int
) -> None:
    (face,) = find_faces(Photo(np.ascontiguousarray(np.rot90(data.astronaut(), quarter_turns))), store)
    assert face.eye_distance == pytest.approx(astronaut_face.eye_distance, rel=0.02)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_face_of_the_smallest_size_is_found_in_a_large_photo_in_every_orientation(
    store: ModelStore, quarter_turns: int
) -> None:
    wide = np.full((1000, 4000, 3), 120, np.uint8)
    small = scale_photo(0.95)
    wide[300 : 300 + len(small), 2900 : 2900 + len(small)] = small
    (face,) = find_faces(Photo(np.ascontiguousarray(np.rot90(wide, quarter_turns))), store)
    assert face.eye_distance == pytest.approx(42, abs=1) and face.skipped is None


def test_a_tilted_head_is_found(astronaut_face: Face, store: ModelStore) -> None:
    tilted = Image.fromarray(data.astronaut()).rotate(30, Image.Resampling.BICUBIC)
    (face,) = find_faces(Photo(np.asarray(tilted)), store)
    assert face.eye_distance == pytest.approx(astronaut_face.eye_distance, rel=0.05)


def test_a_face_at_the_border_is_found(store: ModelStore) -> None:
    cut = np.ascontiguousarray(data.astronaut()[60:400, 165:420])
    (face,) = find_faces(Photo(cut), store)
    assert not face.skipped


def test_a_small_face_is_listed_with_the_reason(store: ModelStore) -> None:
    (face,) = find_faces(Photo(scale_photo(0.6)), store)
    assert face.eye_distance < MIN_EYE_DISTANCE
    assert face.skipped is not None
    assert face.skipped.code == "eyes-too-close" and face.skipped.fields["least"] == 40


def test_the_eye_distance_of_a_face_slightly_too_small_is_rounded_down() -> None:
    assert (
        explain_too_small(39.9) == Message("eyes-too-close", distance=39, least=40) and explain_too_small(40.0) is None
    )


def test_faces_are_numbered_from_the_largest(store: ModelStore) -> None:
    wide = np.zeros((768, 1200, 3), np.uint8) + 120
    wide[:512, :512] = data.astronaut()
    wide[:, 432:] = scale_photo(1.5)
    faces = find_faces(Photo(wide), store)
    assert [face.number for face in faces] == [1, 2]
    assert faces[0].eye_distance > faces[1].eye_distance


def test_a_picture_without_a_face_has_no_detections(store: ModelStore) -> None:
    assert find_faces(Photo(data.coffee()), store) == ()


def test_the_weights_are_verified_before_every_use(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    obtain = store.obtain
    monkeypatch.setattr(store, "obtain", lambda name: asked.append(name) or obtain(name))
    find_faces(Photo(data.coffee()), store)
    assert set(asked) == {"mtcnn", "face-mesh"}


def scale_face(face: Face, scale: float) -> Face:
    return replace(face, mesh=face.mesh * np.float32(scale), eye_distance=face.eye_distance * scale)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_a_known_face_is_found_again_after_resizing(astronaut_face: Face, store: ModelStore, factor: float) -> None:
    detected = find_again(View(Photo(scale_photo(factor))), scale_face(astronaut_face, factor), store)
    assert detected is not None
    assert np.abs(detected.mesh / factor - astronaut_face.mesh).mean() < 0.03 * astronaut_face.eye_distance


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_known_face_is_found_again_in_a_turned_picture(store: ModelStore, quarter_turns: int) -> None:
    turned = Photo(np.ascontiguousarray(np.rot90(data.astronaut(), quarter_turns)))
    (face,) = find_faces(turned, store)
    detected = find_again(View(turned), face, store)
    assert detected is not None
    assert np.abs(detected.mesh - face.mesh).mean() < 0.02 * face.eye_distance


def test_landmarks_in_a_cutout_equal_those_in_the_photo(store: ModelStore) -> None:
    """What the search draws hangs on hundredths of a pixel, and hosts send only the neighbourhood of a face."""
    large = np.full((1600, 2400, 3), 90, np.uint8)
    large[30:1566, 500:2036] = scale_photo(3)
    (expected,) = find_faces(Photo(large), store)
    (cut,) = find_faces(Photo(np.ascontiguousarray(large[70:700, 860:1500])), store)
    assert np.abs(cut.mesh + np.float32([860, 70]) - expected.mesh).max() < 0.02


@pytest.mark.parametrize(("shift", "scale"), [(0, 1.0), (3, 1.05), (-4, 0.95)])
def test_refining_a_face_converges_to_its_landmarks(
    astronaut_face: Face, store: ModelStore, shift: float, scale: float
) -> None:
    centre = astronaut_face.mesh.mean(0)
    beside = replace(astronaut_face, mesh=((astronaut_face.mesh - centre) * scale + centre + shift).astype(np.float32))
    refined = refine_face(View(Photo(data.astronaut())), beside, store)
    assert refined.eye_distance == pytest.approx(astronaut_face.eye_distance, rel=0.005)
    assert np.abs(refined.mesh - astronaut_face.mesh).max() < 0.25


def test_a_known_face_that_has_disappeared_is_not_found_again(astronaut_face: Face, store: ModelStore) -> None:
    pixels = data.astronaut().copy()
    pixels[40:210, 150:300] = 120
    assert find_again(View(Photo(pixels)), astronaut_face, store) is None


def test_a_known_face_in_a_thumbnail_too_small_for_the_detector_is_not_found(
    astronaut_face: Face, store: ModelStore
) -> None:
    thumbnail = scale_photo(16 / 512)
    assert find_again(View(Photo(thumbnail)), scale_face(astronaut_face, 16 / 512), store) is None


def test_a_neighbour_is_not_taken_for_the_known_face(astronaut_face: Face, store: ModelStore) -> None:
    beside = scale_face(astronaut_face, 1.0)
    beside.mesh[:, 0] += 1.5 * astronaut_face.eye_distance
    assert find_again(View(Photo(data.astronaut())), beside, store) is None


def test_a_face_that_overlaps_one_of_a_higher_score_upside_down_is_removed(astronaut_face: Face) -> None:
    upright = astronaut_face.mesh
    eyes = upright[[33, 263], 1].mean()
    upside_down = upright * [1, -1] + np.array([0, 2 * eyes])
    assert [score for _, score in remove_overlaps([(upside_down, 0.9), (upright, 0.99)])] == [0.99]


def test_faces_cheek_to_cheek_are_two(astronaut_face: Face) -> None:
    left = astronaut_face.mesh
    right = left + np.array([0.8 * np.ptp(left[:, 0]), 0])
    assert 0 < face_overlap(left, right) < 1 / 3
    assert len(remove_overlaps([(left, 0.9), (right, 0.99)])) == 2


def test_a_small_face_in_front_of_a_large_one_overlaps_it_completely(astronaut_face: Face) -> None:
    large = astronaut_face.mesh
    small = 0.5 * large + 0.5 * large.mean(0)
    assert face_overlap(small, large) == face_overlap(large, small) == pytest.approx(1.0, abs=0.01)
