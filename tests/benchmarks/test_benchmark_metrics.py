from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_msssim
import torch
from scipy import ndimage
from skimage.color import rgb2lab
from synthetic import EYE_DISTANCE, SIZE, face, natural_row, photo, setting, smooth_field

from benchmarks.metrics import expression, image_quality, patchiness, skin
from benchmarks.metrics.face_masks import make_feature_mask, make_skin_mask
from benchmarks.report.naturalness import make_natural_frame, percentile_95, write_form_table
from c2p_core.api import Face
from c2p_core.faces.align import CANVAS
from c2p_core.photo import Photo

# Across the drawn face, in pixels.
FACE = 2.2 * EYE_DISTANCE


def add_to_photo(added: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(photo() + added), 0, 255).astype(np.uint8)


def measure_spots(before: np.ndarray, after: np.ndarray, detected: Face) -> patchiness.Patchiness:
    return patchiness.measure_on_canvas(before, after, detected)[0]


def warp_photo(amount: float) -> np.ndarray:
    """The drawn photo, smoothly warped by at most ``amount`` eye distances."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    positions = [
        rows + smooth_field(FACE / 20, 2) * amount * EYE_DISTANCE,
        columns + smooth_field(FACE / 20, 3) * amount * EYE_DISTANCE,
    ]
    channels = [
        ndimage.map_coordinates(photo()[..., c].astype(float), positions, order=1, mode="nearest") for c in range(3)
    ]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def test_psnr_of_an_even_offset_follows_the_definition() -> None:
    before = np.full((32, 32, 3), 100, np.uint8)
    assert image_quality.psnr(before, before + 10) == pytest.approx(20 * math.log10(255 / 10))


def test_identical_pictures_are_perfect() -> None:
    before, detected = photo(), face()
    assert image_quality.psnr(before, before) == image_quality.PSNR_OF_IDENTICAL
    assert image_quality.ssim(before, before) == pytest.approx(1.0)
    assert skin.measure_skin_shift(before, before, detected) == skin.ColourShift(0.0, 0.0)
    spots = measure_spots(before, before, detected)
    assert max(spots.face, spots.skin, spots.face_raw, spots.skin_raw) < 0.02


def test_ssim_falls_with_noise() -> None:
    noise = np.random.default_rng(0).standard_normal((SIZE, SIZE, 3))
    light, heavy = (image_quality.ssim(photo(), add_to_photo(noise * sigma)) for sigma in (3, 20))
    assert 1.0 > light > heavy


def test_ssim_agrees_with_another_library() -> None:
    before = photo()
    after = add_to_photo(np.random.default_rng(0).standard_normal((SIZE, SIZE, 3)) * 8)
    planes = [torch.tensor(picture).permute(2, 0, 1)[None].float() for picture in (before, after)]
    assert image_quality.ssim(before, after) == pytest.approx(
        float(pytorch_msssim.ssim(*planes, data_range=255)), abs=1e-3
    )


def test_displacement_is_in_per_cent_of_the_eye_distance() -> None:
    mesh = face().mesh
    moved = expression.measure_displacement(mesh, mesh + np.array([3.0, 4.0], np.float32), eye_distance=100.0)
    assert moved.mesh == pytest.approx(5.0, rel=1e-5)
    assert moved.eyes == pytest.approx(5.0, rel=1e-5)


def test_eye_displacement_depends_only_on_the_lids() -> None:
    mesh = face().mesh
    after = mesh.copy()
    after[0] += 50
    moved = expression.measure_displacement(mesh, after, EYE_DISTANCE)
    assert moved.eyes == 0.0
    assert moved.mesh > 0.0


def transform_mesh(mesh: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    """Move, tilt and scale a mesh."""
    angle = math.radians(degrees)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return mesh @ rotation * scale + np.array([40.0, -7.0])


def test_position_tilt_and_size_of_a_face_do_not_change_its_form() -> None:
    mesh = face().mesh.astype(float)
    moved = expression.measure_form_shift(mesh, transform_mesh(mesh, 25, 1.7))
    assert moved.expression == pytest.approx([0.0] * len(expression.EXPRESSION_MEASURES), abs=1e-9)
    assert moved.landmarks == pytest.approx(0.0, abs=1e-9)
    assert moved.nose_width == pytest.approx(0.0, abs=1e-9)


def test_the_eye_line_is_horizontal_and_100_long() -> None:
    aligned = expression.align_to_eye_line(transform_mesh(face().mesh.astype(float), -40, 0.6))
    left, right = aligned[[33, 133]].mean(axis=0), aligned[[362, 263]].mean(axis=0)
    assert left == pytest.approx([-50.0, 0.0], abs=1e-9)
    assert right == pytest.approx([50.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("points", "offset", "changed_measures"),
    [
        ([105], (0.0, -3.0), {"left brow, middle": 3.0}),
        ([336], (0.0, 2.0), {"right brow, inner": 2.0}),
        ([61], (0.0, -4.0), {"left mouth corner": 4.0}),
        ([61], (-4.0, 0.0), {"mouth width": 4.0}),
        # The lower lip sinks as a whole: the lips open by 2, and the middle that corners are measured from sinks by 1.
        ([14, 17], (0.0, 2.0), {"lip opening": 2.0, "left mouth corner": 1.0, "right mouth corner": 1.0}),
        ([0], (0.0, -1.5), {"upper lip": 1.5}),
        ([17], (0.0, 1.5), {"lower lip": 1.5}),
        ([374], (0.0, 1.0), {"right eye opening": 1.0}),
    ],
)
def test_each_measure_of_an_expression_depends_on_its_own_points(
    points: list[int], offset: tuple[float, float], changed_measures: dict[str, float]
) -> None:
    """The mesh lies on its eye line, so that a move in it is in per cent of the eye distance."""
    mesh = expression.align_to_eye_line(face().mesh)
    after = mesh.copy()
    after[points] += offset
    moved = dict(
        zip(expression.EXPRESSION_MEASURES, expression.measure_form_shift(mesh, after).expression, strict=True)
    )
    assert {name: value for name, value in moved.items() if value > 1e-9} == pytest.approx(changed_measures)


def test_landmarks_and_nose_are_measured_on_the_eye_line() -> None:
    mesh = expression.align_to_eye_line(face().mesh)
    mesh[129], mesh[358] = (-15.0, 40.0), (15.0, 40.0)
    after = mesh.copy()
    after[[129, 358], 0] *= 1.1
    moved = expression.measure_form_shift(mesh, after)
    assert moved.nose_width == pytest.approx(10.0)
    assert moved.landmarks == pytest.approx(2 * 1.5 / 468)


def test_expression_of_a_row_is_the_mean_and_the_worst_of_its_measures() -> None:
    row = natural_row(setting(), expression_changes=(0.0,) * 12 + (1.0, 6.0))
    assert row.expression == pytest.approx(0.5)
    assert natural_row(setting()).expression is None
    frame = make_natural_frame([row, natural_row(setting("b"))])
    assert frame["expression"].tolist() == pytest.approx([0.5, float("nan")], nan_ok=True)
    assert frame["expression_worst"].tolist() == pytest.approx([6.0, float("nan")], nan_ok=True)


def test_the_95th_percentile_of_the_expression_is_over_all_measures_of_all_pictures() -> None:
    group = [
        natural_row(setting(n), expression_changes=(0.0,) * 13 + (worst,)) for n, worst in (("a", 0.0), ("b", 9.0))
    ]
    frame = make_natural_frame(group)
    assert percentile_95(frame, "expression") == pytest.approx(np.quantile([0.0] * 27 + [9.0], 0.95))
    assert percentile_95(frame, "expression_worst") == pytest.approx(np.quantile([0.0, 9.0], 0.95))
    assert math.isnan(percentile_95(make_natural_frame([natural_row(setting())]), "expression"))
    line = write_form_table(frame).splitlines()[-1]
    assert line.startswith("| c2p (makeup, “natural makeup”) | 0.7 | 2 | 0.32 / 0.00 | 4.50 / 8.55 |")


def test_skin_shift_of_grey_follows_the_published_formula() -> None:
    """Grey 119 and 129 are L* 50.03 and 53.98; without hue or chroma only the lightness term of CIEDE2000 is left."""
    before, after = (np.full((SIZE, SIZE, 3), value, np.uint8) for value in (119, 129))
    lightness = [116 * (((v / 255 + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16 for v in (119, 129)]
    squared_distance = (sum(lightness) / 2 - 50) ** 2
    expected = (lightness[1] - lightness[0]) / (1 + 0.015 * squared_distance / math.sqrt(20 + squared_distance))
    assert skin.measure_skin_shift(before, after, face()).mean == pytest.approx(expected, rel=1e-3)


def test_the_95th_percentile_of_a_shift_is_that_of_the_most_shifted_skin() -> None:
    before, detected = np.full((SIZE, SIZE, 3), 119, np.uint8), face()
    everywhere = skin.measure_skin_shift(before, before + 10, detected).mean
    rows, columns = np.nonzero(make_skin_mask(rgb2lab(before), detected.mesh, EYE_DISTANCE))
    for share, expected in ((0.08, everywhere), (0.02, 0.0)):
        after = before.copy()
        shifted = slice(0, round(share * len(rows)))
        after[rows[shifted], columns[shifted]] += 10
        shift = skin.measure_skin_shift(before, after, detected)
        assert shift.p95 == pytest.approx(expected, abs=1e-3)
        assert shift.mean == pytest.approx(share * everywhere, rel=0.02)


def test_lips_and_eyes_are_not_skin() -> None:
    before, detected = photo(), face()
    features = make_feature_mask((SIZE, SIZE), detected.mesh, EYE_DISTANCE)
    after = before.copy()
    after[features] = 255
    assert skin.measure_skin_shift(before, after, detected).mean == 0.0


def test_dark_glasses_are_not_skin() -> None:
    before, detected = photo(), face()
    before[130:135, 80:240] = 5
    mask = make_skin_mask(rgb2lab(before), detected.mesh, EYE_DISTANCE)
    assert mask.any()
    assert not mask[130:135, 80:240].any()


def test_spots_between_4_and_32_cells_are_patchy() -> None:
    spots = measure_spots(photo(), add_to_photo(smooth_field(FACE / 40, 5)[..., None] * 30), face())
    assert spots.skin > 1.0


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("a tan that shades across the face", (12 + 12 * smooth_field(FACE, 6))[..., None] * np.array([1.0, 0.8, 0.6])),
        ("grain", np.random.default_rng(7).standard_normal((SIZE, SIZE, 1)) * 6),
    ],
)
def test_tan_and_grain_are_not_patchy(name: str, added: np.ndarray) -> None:
    blotches = measure_spots(photo(), add_to_photo(smooth_field(FACE / 40, 5)[..., None] * 30), face())
    assert measure_spots(photo(), add_to_photo(added), face()).skin < 0.35 * blotches.skin, name


def test_registration_does_not_count_moved_edges_as_spots() -> None:
    spots = measure_spots(photo(), warp_photo(0.05), face())
    assert spots.face < 0.4 * spots.face_raw


def test_flow_measures_how_far_a_face_moved() -> None:
    after = np.roll(photo(), 3, axis=1)
    _, moved, _ = patchiness.measure_on_canvas(photo(), after, face())
    assert moved.mesh == pytest.approx(100 * 3 / EYE_DISTANCE, rel=0.1)
    assert moved.eyes == pytest.approx(100 * 3 / EYE_DISTANCE, rel=0.1)


def test_registration_keeps_spots() -> None:
    spots = measure_spots(photo(), add_to_photo(smooth_field(FACE / 40, 5)[..., None] * 30), face())
    assert spots.face > 0.8 * spots.face_raw


def test_band_passes_10_cells_and_stops_1_and_100() -> None:
    """Stripes of n cells across the face are a cosine of n / 2 cycles."""
    mask = np.ones((CANVAS, CANVAS), bool)
    x = np.arange(CANVAS) / patchiness.FACE_WIDTH

    def measure_gain(cells: float) -> float:
        stripes = np.broadcast_to(np.cos(np.pi * cells * x)[None, :, None], (CANVAS, CANVAS, 1))
        return patchiness.band_energy(np.array(stripes), mask) * math.sqrt(2)

    assert measure_gain(10) > 0.8
    assert measure_gain(32) == pytest.approx(0.5, abs=0.05)
    assert measure_gain(1.5) < 0.2
    assert measure_gain(100) < 0.05


def test_pictures_are_compared_in_eight_bits_without_alpha() -> None:
    rgb = image_quality.to_rgb8(Photo(np.full((2, 2, 4), 65535, np.uint16)))
    assert rgb.shape == (2, 2, 3)
    assert rgb.dtype == np.uint8
    assert np.all(rgb == 255)


def test_ms_ssim_of_an_even_offset_is_the_luminance_term_of_the_coarsest_scale() -> None:
    """Of flat pictures structure and contrast are the same at all scales; the last scale's luminance counts 0.1333."""
    before, after = (np.full((200, 200, 3), value, np.uint8) for value in (100, 130))
    constant = (0.01 * 255) ** 2
    luminance = (2 * 100 * 130 + constant) / (100**2 + 130**2 + constant)
    assert image_quality.ms_ssim(before, after) == pytest.approx(luminance**0.1333, rel=1e-3)


def test_ms_ssim_needs_more_than_160_pixels() -> None:
    small = np.zeros((160, 300, 3), np.uint8)
    assert image_quality.ms_ssim(small, small) is None


def test_flip_is_0_for_identical_pictures_and_nearly_1_for_black_and_white() -> None:
    assert image_quality.flip(photo(), photo()) == 0.0
    assert image_quality.flip(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)) > 0.95


def test_flip_weighs_blotches_more_than_grain_of_the_same_error() -> None:
    blotches = smooth_field(FACE / 40, 5)[..., None]
    grain = np.random.default_rng(7).standard_normal((SIZE, SIZE, 1))
    blotches, grain = (f / f.std() * 6 for f in (blotches, grain))
    assert image_quality.flip(photo(), add_to_photo(blotches)) > 1.1 * image_quality.flip(photo(), add_to_photo(grain))


def test_skin_tone_of_one_colour_is_the_angle_of_its_lab_values() -> None:
    flat = np.broadcast_to(np.array([205, 160, 135], np.uint8), (SIZE, SIZE, 3)).copy()
    lightness, _, yellow = rgb2lab(flat)[0, 0]
    assert skin.measure_skin_tone(flat, face()) == pytest.approx(
        math.degrees(math.atan2(lightness - 50, yellow)), abs=1e-3
    )


def test_the_face_alone_is_measured_too() -> None:
    _, _, same = patchiness.measure_on_canvas(photo(), photo(), face())
    _, _, other = patchiness.measure_on_canvas(
        photo(), add_to_photo(smooth_field(FACE / 40, 5)[..., None] * 30), face()
    )
    assert same.psnr == image_quality.PSNR_OF_IDENTICAL
    assert same.ms_ssim == pytest.approx(1.0) and same.flip < 0.01
    assert other.ms_ssim is not None and other.ms_ssim < 0.99
    assert other.flip > same.flip + 0.01
