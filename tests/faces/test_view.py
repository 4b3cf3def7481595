"""A photo is converted only where and as finely as it is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.api import Face
from c2p_core.faces import find_faces
from c2p_core.faces import view as view_module
from c2p_core.faces.align import align, crop_canvas
from c2p_core.faces.landmarks import to_tensor
from c2p_core.faces.view import View
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo


def noise(dtype: Any = np.uint8, channels: int = 3) -> Photo:
    full = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    return Photo((np.random.default_rng(0).random((20, 31, channels)) * full).astype(dtype))


def test_reading_a_rectangle_equals_cropping_the_whole_picture() -> None:
    assert np.array_equal(View(noise()).read(3, 2, 20, 11), to_tensor(to_srgb(noise()))[:, 2:11, 3:20])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "code"), [(np.uint8, 0.51 / 255), (np.uint16, 0.51 / 65535), (np.float32, 1e-6)])
def test_a_downscaled_read_averages_blocks(dtype: Any, code: float, channels: int) -> None:
    photo = noise(dtype, channels)
    small = View(photo).read(1, 2, 31, 20, 3)
    means = to_srgb(photo)[2:20, 1:31].reshape(6, 3, 10, 3, 3).mean((1, 3)).transpose(2, 0, 1)
    assert small.shape == (3, 6, 10)
    assert np.abs(small.numpy() - means).max() <= code


def test_a_downscaled_read_includes_incomplete_blocks() -> None:
    assert View(noise()).read(0, 0, 31, 20, 3).shape == (3, 7, 11)


def test_the_canvas_of_a_small_photo_equals_that_of_the_converted_photo(astronaut: Photo, astronaut_face: Face) -> None:
    alignment = align(astronaut_face.mesh, astronaut_face.eye_distance)
    expected = crop_canvas(to_tensor(to_srgb(astronaut)), alignment)
    assert np.array_equal(crop_canvas(View(astronaut), alignment), expected)


def test_the_canvas_of_a_large_photo_is_close_to_that_of_the_converted_photo(astronaut_face: Face) -> None:
    enlarged = Photo(np.asarray(Image.fromarray(data.astronaut()).resize((3072, 3072), Image.Resampling.LANCZOS)))
    alignment = align(6 * astronaut_face.mesh, 6 * astronaut_face.eye_distance)
    expected = crop_canvas(to_tensor(to_srgb(enlarged)), alignment)
    assert (crop_canvas(View(enlarged), alignment) - expected).abs().max() < 0.03
    assert (crop_canvas(View(enlarged), alignment) - expected).square().mean().sqrt() < 0.003


def test_faces_are_found_in_a_large_photo_without_converting_it(
    astronaut_face: Face, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.full((3000, 4000, 3), 120, np.uint8)
    large[1100:1612, 2400:2912] = data.astronaut()
    converted: list[int] = []

    def watched(photo: Photo) -> Any:
        converted.append(photo.width * photo.height)
        return to_srgb(photo)

    monkeypatch.setattr(view_module, "to_srgb", watched)
    (face,) = find_faces(Photo(large), store)
    assert face.eye_distance == pytest.approx(astronaut_face.eye_distance, rel=0.03)
    assert max(converted) < large.shape[0] * large.shape[1] / 4
