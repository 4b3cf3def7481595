from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic import natural_row, protect_row, setting

from benchmarks import report, rows, sheets
from benchmarks.data import Places
from benchmarks.rows import NO_FAMILY

FAR1 = report.THRESHOLDS["FAR 1 %"]
FAR01 = report.THRESHOLDS["FAR 0.1 %"]
NAMES = {"dlib": ("dlib-resnet",), "faceres": ("faceres", "faceres-deep"), "mobileface": ("mobileface",)}
FAMILIES = tuple(NAMES)


def test_doing_nothing_scores_0_per_cent() -> None:
    group = [protect_row(setting(name, NO_FAMILY, method="nothing"), 1.0) for name in "abcd"]
    rate = report.held_out_rate(group, NAMES, FAR1)
    assert rate is not None
    assert rate.value == 0.0
    assert report.white_box_rate(group, NAMES, FAR1) is None


def test_a_face_that_is_gone_scores_100_per_cent_and_is_told_apart(tmp_path: Path) -> None:
    key = setting("a", NO_FAMILY, method="blackout")
    gone = protect_row(key, scores=(), face_after=False)
    rate = report.held_out_rate([gone], NAMES, FAR1)
    assert rate is not None
    assert rate.value == 1.0
    rows.append(tmp_path / rows.PROTECT_FILE, gone)
    assert "| 1 of 1 |" in report.write_report(Places(tmp_path, tmp_path)).read_text()


def test_a_face_that_was_never_found_counts_as_failure() -> None:
    group = [protect_row(setting("a"), 0.1), protect_row(setting("b"), scores=(), face_before=False, face_after=False)]
    rate = report.held_out_rate(group, NAMES, FAR1)
    assert rate is not None
    assert rate.value == 0.5


def test_a_recogniser_that_was_not_asked_has_not_been_escaped() -> None:
    full = protect_row(setting("a"), 0.1)
    partial = protect_row(setting("b"), scores=tuple(s for s in full.scores if s.family != "dlib"))
    assert report.recogniser_rate([full, partial], "dlib-resnet", FAR1).value == 0.5


def test_held_out_rate_is_the_mean_of_the_runs_each_judged_by_its_own_family() -> None:
    """dlib escapes in its run; of faceres' two recognisers one does; mobileface does not: (1 + 1/2 + 0) / 3."""
    low = {"dlib-resnet": 0.1, "faceres": 0.1, "faceres-deep": 0.9, "mobileface": 0.9}
    group = [protect_row(setting("a", family), low) for family in FAMILIES]
    rate = report.held_out_rate(group, NAMES, FAR1)
    assert rate is not None
    assert rate.value == pytest.approx(0.5)
    assert rate.count == 1


def test_between_the_thresholds_is_protected_at_the_stricter_rate_only() -> None:
    group = [protect_row(setting("a"), 0.5)]
    rates = [report.recogniser_rate(group, "dlib-resnet", t).value for t in (FAR1, FAR01)]
    assert rates == [0.0, 1.0]


def test_a_row_without_a_face_learns_the_recognisers_from_the_others() -> None:
    rows_of = [protect_row(setting("a"), 0.1), protect_row(setting("b"), scores=(), face_after=False)]
    assert report.recognisers(rows_of) == NAMES


def test_white_box_asks_all_optimised_recognisers_and_not_the_held_out_one() -> None:
    only_dlib_matches = {"dlib-resnet": 0.9, "faceres": 0.1, "faceres-deep": 0.1, "mobileface": 0.1}
    group = [
        protect_row(setting("a", "dlib"), only_dlib_matches),
        protect_row(setting("a", "faceres"), only_dlib_matches),
    ]
    rate = report.white_box_rate(group, NAMES, FAR1)
    assert rate is not None
    assert rate.value == 0.5


def test_interval_is_wilsons() -> None:
    """Wilson's 95 % interval for 8 of 10 is 0.490 to 0.943 (Brown, Cai, DasGupta 2001)."""
    assert report.Rate(0.8, 10).interval == pytest.approx((0.490, 0.943), abs=1e-3)


def test_report_builds_and_sets_figures_against_targets(tmp_path: Path) -> None:
    for name in "ab":
        for family in FAMILIES:
            rows.append(tmp_path / rows.PROTECT_FILE, protect_row(setting(name, family), 0.1))
            rows.append(tmp_path / rows.NATURAL_FILE, natural_row(setting(name, family)))
        look = setting(name, NO_FAMILY, method="look")
        rows.append(tmp_path / rows.NATURAL_FILE, natural_row(look, patch_face=1.8))
    text = report.write_report(Places(tmp_path, tmp_path)).read_text()
    assert "| held-out PSR at FAR 1 % | ≥ 65 % (goal 90 %) | 100 % (34–100) |" in text
    assert "| PSNR, dB | ≥ 27 | 28.0 |" in text
    assert "| patchiness face | ≤ 1.80 (random look) | 1.50 |" in text


def test_report_without_rows_says_so(tmp_path: Path) -> None:
    assert "0 protected pictures" in report.write_report(Places(tmp_path, tmp_path)).read_text()


@pytest.fixture
def one_picture(tmp_path: Path) -> tuple[Places, Path]:
    photos = tmp_path / "photos"
    photos.mkdir()
    before = np.full((300, 280, 3), 100, np.uint8)
    Image.fromarray(before).save(photos / "a.png")
    places = Places(tmp_path, tmp_path / "pictures")
    picture = places.pictures / setting("a").picture
    picture.parent.mkdir(parents=True)
    Image.fromarray(before + 5).save(picture)
    rows.append(places.rows / rows.PROTECT_FILE, protect_row(setting("a"), 0.1))
    return places, photos


def test_a_sheet_shows_the_face_at_least_300_px_wide(one_picture: tuple[Places, Path]) -> None:
    places, photos = one_picture
    (path,) = sheets.make(places, photos, "c2p", 0.7, "dlib", per_sheet=4, close=False)
    sheet = Image.open(path)
    # The face is 200 of the picture's 280 px, and there are three panels.
    assert sheet.width >= 3 * 300 * 280 / 200
    assert sheet.getpixel((sheet.width - 100, sheet.height // 2)) == (168, 168, 168)


def test_a_closeup_is_enlarged_by_a_whole_number(one_picture: tuple[Places, Path]) -> None:
    places, photos = one_picture
    (path,) = sheets.make(places, photos, "c2p", 0.7, "dlib", per_sheet=1, close=True)
    assert Image.open(path).width == 2 * 3 * 280 + 4
    assert path.name == "a.png"
