from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pandas import DataFrame, MultiIndex
from PIL import Image
from synthetic import cost_row, natural_row, pair_row, protect_row, robustness_row, setting

from benchmarks import rows
from benchmarks.__main__ import main
from benchmarks.data import RunFolders
from benchmarks.metrics.psr import (
    FAR1,
    Rate,
    all_rate,
    compute_escapes,
    held_out_rate,
    list_recognisers,
    recogniser_rate,
    select_threshold,
    white_box_rate,
)
from benchmarks.report import (
    contact_sheets,
    demographics,
    document,
    identification,
    priors,
    robustness,
    scaling,
    visibility,
)
from benchmarks.report.naturalness import make_natural_frame
from benchmarks.report.protection import write_recogniser_table
from benchmarks.rows import NO_FAMILY
from benchmarks.suites.demographics import group_people

NAMES = {"dlib": ("dlib-resnet",), "faceres": ("faceres", "faceres-deep"), "mobileface": ("mobileface",)}
RECOGNISERS = MultiIndex.from_tuples([(family, name) for family, members in NAMES.items() for name in members])
FAMILIES = tuple(NAMES)
SMALL = Path(__file__).parent / "small"


@pytest.fixture(autouse=True)
def fix_main_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows here have strength 0.7, whatever the product's default."""
    monkeypatch.setattr(document, "MAIN_STRENGTH", 0.7)


def test_doing_nothing_scores_0_per_cent() -> None:
    group = [protect_row(setting(name, NO_FAMILY, method="nothing"), 1.0) for name in "abcd"]
    assert held_out_rate(compute_escapes(group)[FAR1]) == Rate(0.0, 4)
    assert white_box_rate(compute_escapes(group)[FAR1]) is None


def test_a_lost_face_scores_100_per_cent_and_is_counted_separately(tmp_path: Path) -> None:
    key = setting("a", NO_FAMILY, method="blackout")
    lost = protect_row(key, scores=(), face_after=False)
    assert held_out_rate(select_threshold(compute_escapes([lost], RECOGNISERS), FAR1)) == Rate(1.0, 1)
    rows.append(tmp_path / rows.PROTECT_FILE, lost)
    assert "| 1 of 1 |" in document.write_report(RunFolders(tmp_path, tmp_path)).read_text()


def test_a_face_that_was_never_found_counts_as_failure() -> None:
    group = [protect_row(setting("a"), 0.1), protect_row(setting("b"), scores=(), face_before=False, face_after=False)]
    assert held_out_rate(compute_escapes(group)[FAR1]) == Rate(0.5, 2)


def test_a_recogniser_without_a_score_counts_as_matching() -> None:
    full = protect_row(setting("a"), 0.1)
    partial = protect_row(setting("b"), scores=tuple(s for s in full.scores if s.family != "dlib"))
    assert recogniser_rate(compute_escapes([full, partial])[FAR1]["dlib"], "dlib-resnet") == Rate(0.5, 2)


def test_held_out_rate_is_the_mean_of_the_runs_each_judged_by_its_own_family() -> None:
    """dlib escapes in its run; of faceres' two recognisers one does; mobileface does not: (1 + 1/2 + 0) / 3."""
    low = {"dlib-resnet": 0.1, "faceres": 0.1, "faceres-deep": 0.9, "mobileface": 0.9}
    group = [protect_row(setting("a", family), low) for family in FAMILIES]
    assert held_out_rate(compute_escapes(group)[FAR1]) == Rate(0.5, 1)


def test_between_the_thresholds_is_protected_at_the_stricter_rate_only() -> None:
    group = [protect_row(setting("a"), 0.5)]
    assert compute_escapes(group).T.groupby(level="threshold").all().T.iloc[0].to_dict() == {
        FAR1: False,
        "FAR 0.1 %": True,
    }


def test_recognisers_of_a_row_without_a_face_come_from_the_other_rows() -> None:
    rows_of = [protect_row(setting("a"), 0.1), protect_row(setting("b"), scores=(), face_after=False)]
    assert list(list_recognisers(rows_of)) == list(RECOGNISERS)


def test_the_white_box_rate_is_over_all_optimised_recognisers_without_the_held_out_one() -> None:
    only_dlib_matches = {"dlib-resnet": 0.9, "faceres": 0.1, "faceres-deep": 0.1, "mobileface": 0.1}
    group = [
        protect_row(setting("a", "dlib"), only_dlib_matches),
        protect_row(setting("a", "faceres"), only_dlib_matches),
    ]
    assert white_box_rate(compute_escapes(group)[FAR1]) == Rate(0.5, 1)


def test_the_rate_over_all_recognisers_counts_pictures_that_none_matches() -> None:
    after = {"dlib-resnet": 0.1, "faceres": 0.1, "faceres-deep": 0.9, "mobileface": 0.1}
    group = [protect_row(setting("a", "dlib"), after), protect_row(setting("b", "dlib"), 0.1)]
    assert all_rate(compute_escapes(group)[FAR1]) == Rate(0.5, 2)


def test_interval_is_wilsons() -> None:
    """Wilson's 95 % interval for 8 of 10 is 0.490 to 0.943 (Brown, Cai, DasGupta 2001)."""
    assert Rate(0.8, 10).interval == pytest.approx((0.490, 0.943), abs=1e-3)


def test_report_builds_and_sets_figures_against_targets(tmp_path: Path) -> None:
    for name in "ab":
        for family in FAMILIES:
            rows.append(tmp_path / rows.PROTECT_FILE, protect_row(setting(name, family), 0.1))
            rows.append(tmp_path / rows.NATURAL_FILE, natural_row(setting(name, family)))
        look = setting(name, NO_FAMILY, method="look")
        rows.append(tmp_path / rows.NATURAL_FILE, natural_row(look, patch_face=1.8))
    text = document.write_report(RunFolders(tmp_path, tmp_path)).read_text()
    assert "| makeup: held-out PSR at FAR 1 % | ≥ 50 % | 100 % (34–100) |" in text
    assert "| makeup: PSNR, dB | ≥ 27 | 28.0 |" in text
    assert "| makeup: patchiness face | ≤ 1.80 (random look) | 1.50 |" in text


def test_the_committed_small_results_make_a_report_with_plots_and_a_line_a_score(tmp_path: Path) -> None:
    for file in SMALL.glob("*.jsonl"):
        shutil.copy(file, tmp_path)
    text = document.write_report(RunFolders(tmp_path, tmp_path)).read_text()
    assert "Not measured yet" not in text
    assert "Infinity" not in text and "nan" not in text
    for picture in ("curves.png", "survival.png", "cost.png"):
        assert f"({picture})" in text
        assert Image.open(tmp_path / picture).width > 600
    scores = sum(len(row.scores) for row in rows.read(tmp_path / rows.PROTECT_FILE, rows.ProtectRow))
    assert len((tmp_path / document.SCORES_FILE).read_text().splitlines()) == scores + 1


def curve(**shares: dict[float, float]) -> DataFrame:
    """Held-out protection by SSIM, for each method."""
    lines = [
        {"method": method.replace("_", " "), "ssim": ssim, "held_out": Rate(share, 10)}
        for method, points in shares.items()
        for ssim, share in points.items()
    ]
    return DataFrame(lines)


def test_curves_are_interpolated_linearly_and_not_extrapolated() -> None:
    pgd = curve(pgd={0.90: 0.8, 0.96: 0.2})
    protection = [visibility.interpolate_protection(pgd, "ssim", value) for value in (0.88, 0.90, 0.93, 0.98, 1.0)]
    assert protection == [None, pytest.approx(0.8), pytest.approx(0.5), None, None]


def test_a_win_is_more_protection_than_all_methods_measured_at_that_visibility() -> None:
    curves = curve(c2p={0.92: 0.6, 0.97: 0.5}, pgd={0.90: 0.9, 0.96: 0.1})
    # At 0.92, 0.94 and 0.96 c2p has 0.6, 0.56 and 0.52, pgd 0.633, 0.367 and 0.1.
    assert visibility.count_wins(curves, "ssim") == (2, 3)


def test_the_better_of_our_priors_counts_and_they_are_not_rivals() -> None:
    curves = curve(c2p={0.90: 0.5, 0.96: 0.5}, c2p_stylegan2={0.90: 0.7, 0.96: 0.3}, pgd={0.90: 0.6, 0.96: 0.4})
    # At 0.90, 0.92, 0.94 and 0.96: 0.7, 0.57, 0.5 and 0.5 against 0.6, 0.53, 0.47 and 0.4.
    assert visibility.count_wins(curves, "ssim") == (4, 4)


def test_the_other_prior_has_a_curve_of_its_own() -> None:
    protect = [
        protect_row(replace(setting("a", family), prior=prior), share)
        for family in FAMILIES
        for prior, share in (("makeup", 0.1), ("stylegan2", 0.9))
    ]
    curves = visibility.measure_curves(
        compute_escapes(protect), make_natural_frame(natural_row(row.setting) for row in protect)
    )
    rates = dict(zip(curves["method"], curves["held_out"], strict=True))
    assert rates == {visibility.OURS: Rate(1.0, 1), visibility.OTHER_PRIOR: Rate(0.0, 1)}


def test_curves_compare_the_faces_that_all_methods_have() -> None:
    protect = [protect_row(setting(name, family), 0.1) for name in "ab" for family in FAMILIES]
    look = setting("a", NO_FAMILY, method="look")
    protect.append(protect_row(look, 0.9))
    curves = visibility.measure_curves(
        compute_escapes(protect), make_natural_frame(natural_row(row.setting) for row in protect)
    )
    assert dict(zip(curves["method"], curves["held_out"], strict=True)) == {"c2p": Rate(1.0, 1), "look": Rate(0.0, 1)}


def test_robustness_is_in_points_and_a_face_that_is_not_found_counts_as_protected() -> None:
    group = [
        robustness_row(setting(n, f), {"JPEG 70": a, "mean 5x5": None})
        for n, a in (("a", 0.1), ("b", 0.9))
        for f in FAMILIES
    ]
    rates_after = {name: rate.value for name, rate in robustness.held_out_rates(group, RECOGNISERS).items()}
    assert rates_after == {"as it is": 1.0, "JPEG 70": 0.5, "mean 5x5": 1.0}
    assert "| JPEG 70 | 50 % (9–91) | -50 |" in robustness.write_section(group, RECOGNISERS)


def test_the_table_shows_how_many_unprotected_photos_are_recognised_after_a_degradation() -> None:
    text = robustness.write_section(
        [robustness_row(setting("a", f), {"mean 5x5": 0.1}, before=0.2) for f in FAMILIES], RECOGNISERS
    )
    assert "| mean 5x5 | 100 % (21–100) | +0 | 100 % | 100 % | 100 % | 100 % | 100 % | 0 | 0 % |" in text


def test_only_pairs_that_matched_before_can_be_missed() -> None:
    row = pair_row(setting("a", "faceres"))
    strangers = replace(row.others["other"][0], before=0.2)
    text = identification.write_pairs_section([replace(row, others={"x": row.others["other"], "y": (strangers,)})])
    assert "| dlib-resnet | white-box | 1 of 2 | 100 % (21–100) | 1 of 2 | 100 % (21–100) |" in text


def test_identification_counts_ranks_beyond_the_limit_and_lost_faces() -> None:
    ranks = {"a": 1, "b": 3, "c": 9}
    group = [
        replace(row, gallery=40, scores=tuple(replace(s, rank=ranks[row.setting.face]) for s in row.scores))
        for row in (protect_row(setting(name, "dlib")) for name in "abc")
    ]
    group.append(protect_row(setting("d", "dlib"), scores=(), face_after=False))
    text = identification.write_identification_section(group, compute_escapes(group))
    assert "| dlib-resnet | 40 | 75 % (30–95) | 50 % (15–85) |" in text


def test_impersonation_is_above_the_threshold_at_far_1() -> None:
    row = protect_row(setting("a", "dlib", method="decoy"))
    row = replace(row, scores=tuple(replace(s, decoy_before=0.1, decoy=0.5) for s in row.scores))
    text = identification.write_decoy_section([row])
    assert "| dlib-resnet | held-out | 100 % (21–100) | 0 % (0–79) | 0.100 | 0.500 | 0.400 / 0.600 |" in text


def test_a_recogniser_without_decoys_is_listed_as_such() -> None:
    row = protect_row(setting("a", "dlib", method="decoy"))
    scores = (replace(row.scores[0], decoy_before=0.1, decoy=0.5), *row.scores[1:])
    text = identification.write_decoy_section([replace(row, scores=scores)])
    assert "| dlib-resnet | held-out | 100 % (21–100) | 0 % (0–79) | 0.100 | 0.500 | 0.400 / 0.600 |" in text
    assert "| mobileface | white-box | – | – | – | – | no decoy known |" in text


def test_a_recogniser_without_a_threshold_among_real_strangers_is_named_below_its_table() -> None:
    protect = [protect_row(setting("a", family), 0.1) for family in FAMILIES]
    text = write_recogniser_table(protect, compute_escapes(protect), {"dlib-resnet", "faceres", "faceres-deep"})
    assert "\n\nThe thresholds of mobileface were set without strangers in real photos: " in text
    assert "without strangers" not in write_recogniser_table(
        protect, compute_escapes(protect), {name for _, name in RECOGNISERS}
    )


def test_groups_have_counts_and_large_differences_are_listed() -> None:
    protect = [protect_row(setting(n, f), 0.1 if n in "abc" else 0.9) for n in "abcd" for f in FAMILIES]
    people = {n: rows.Person(n, tone, "") for n, tone in zip("abcd", (50.0, 40.0, 30.0, -5.0), strict=True)}
    natural = make_natural_frame(natural_row(r.setting) for r in protect)
    text = demographics.write_section(compute_escapes(protect), natural, people)
    assert "| lightest third of skin | 1 | 100 %" in text and "| darkest third of skin | 2 | 50 %" in text
    assert "- held-out: darkest third of skin (2) 50 %, middle third of skin (1) 100 %" in text


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("woman red lipstick", {"labelled as a woman"}),
        ("fashionable beard", {"labelled as a man or with a beard"}),
        ("typical adult south-american", {"labelled with another origin"}),
        ("red background", set()),
    ],
)
def test_labels_name_groups_by_whole_words(label: str, expected: set[str]) -> None:
    assert set(group_people([rows.Person("a", None, label)])) == expected


def test_cost_over_faces_is_a_straight_line() -> None:
    costs = [cost_row(portraits=n, faces=n, seconds=3.0 + 5.0 * n) for n in (1, 2, 5)]
    fit = scaling.fit_line(scaling.make_cost_frame([*costs, cost_row(megapixels=24.0)]))
    assert fit is not None
    assert (fit.fixed, fit.per_face, fit.explained) == pytest.approx((3.0, 5.0, 1.0))


def test_megapixels_add_what_is_outside_the_search() -> None:
    small = cost_row(limit=None, megapixels=1.0, stages={"search": 9.0, "paste": 1.0}, peak_mib=1000.0)
    large = cost_row(limit=None, megapixels=24.0, stages={"search": 5.0, "paste": 2.5}, peak_mib=1300.0)
    figures = {name: measured for name, _, measured in scaling.list_targets(scaling.make_cost_frame([small, large]))}
    assert figures["24 megapixels add, seconds (outside the search)"] == "1.5"
    assert figures["24 megapixels add, memory"] == "300 MiB"


def test_both_priors_stand_side_by_side_each_with_its_own_figures() -> None:
    makeup, paper = setting(), replace(setting(), prior="stylegan2")
    protect = [protect_row(key, after) for key, after in ((makeup, 0.9), (paper, 0.3))]
    natural = make_natural_frame(replace(natural_row(key), psnr=psnr) for key, psnr in ((makeup, 31), (paper, 29)))
    text = priors.write_section(protect, compute_escapes(protect), natural, "c2p", 0.7)
    assert text.startswith("|  | makeup | stylegan2 |")
    assert "| PSNR, dB | 31.0 | 29.0 |" in text
    (held_out,) = re.findall(r"held-out, FAR 1 %.*", text)
    assert re.findall(r"\b\d+ %", held_out)[1:] == ["0 %", "100 %"]


def test_the_comparison_of_priors_is_empty_with_one_prior() -> None:
    protect = [protect_row(setting())]
    assert priors.write_section(protect, compute_escapes(protect), make_natural_frame([]), "c2p", 0.7) == ""


def test_full_size_is_reported_as_a_ratio_to_the_plain_loop(tmp_path: Path) -> None:
    steps = {
        "tuning": 1.5,
        "search": 2.0,
        "face": 325.0,
        "plain_tuning": 6.0,
        "plain_search": 8.0,
        "plain_face": 1300.0,
    }
    (tmp_path / "fullsize.json").write_text(json.dumps({"device": "2 CPU threads", **steps}))
    assert "(2 CPU threads): 4.0 times faster." in priors.write_fullsize_section(tmp_path / "fullsize.json")


def test_report_without_rows_says_so(tmp_path: Path) -> None:
    assert "0 protected pictures" in document.write_report(RunFolders(tmp_path, tmp_path)).read_text()


def test_each_prior_has_its_own_aims_for_a_whole_search() -> None:
    costs = [
        cost_row(limit=None, megapixels=1.0, seconds=s, prior=p) for p, s in (("makeup", 20.0), ("stylegan2", 80.0))
    ]
    lines = {figure: measured for figure, _, measured in scaling.list_targets(scaling.make_cost_frame(costs))}
    assert lines["seconds a face, makeup, models loaded"] == "20.0"
    assert lines["seconds a face, stylegan2, models loaded"] == "80.0"


def test_the_slowest_check_counts() -> None:
    costs = [cost_row(limit=None, megapixels=mp, check=s) for mp, s in ((1.0, 4.0), (24.0, 9.0))]
    assert any(
        measured == "9.0" and "24 megapixels" in figure
        for figure, _, measured in scaling.list_targets(scaling.make_cost_frame(costs))
    )


@pytest.fixture
def one_picture(tmp_path: Path) -> tuple[RunFolders, Path]:
    photos = tmp_path / "photos"
    photos.mkdir()
    before = np.full((300, 280, 3), 100, np.uint8)
    Image.fromarray(before).save(photos / "a.png")
    folders = RunFolders(tmp_path, tmp_path / "pictures")
    picture = folders.pictures / setting("a").picture
    picture.parent.mkdir(parents=True)
    Image.fromarray(before + 5).save(picture)
    rows.append(folders.rows / rows.PROTECT_FILE, protect_row(setting("a"), 0.1))
    return folders, photos


def test_a_sheet_shows_the_face_at_least_300_px_wide(one_picture: tuple[RunFolders, Path]) -> None:
    folders, photos = one_picture
    (path,) = contact_sheets.draw(folders, photos, "c2p", 0.7, "dlib", per_sheet=4, close=False, priors=("makeup",))
    sheet = Image.open(path)
    # The face is 200 of the picture's 280 px, and there are three panels.
    assert sheet.width >= 3 * 300 * 280 / 200
    assert sheet.getpixel((sheet.width - 100, sheet.height // 2)) == (168, 168, 168)


def test_a_closeup_is_enlarged_by_a_whole_number(one_picture: tuple[RunFolders, Path]) -> None:
    folders, photos = one_picture
    (path,) = contact_sheets.draw(folders, photos, "c2p", 0.7, "dlib", per_sheet=1, close=True, priors=("makeup",))
    assert Image.open(path).width == 2 * 3 * 280 + 4
    assert path.name == "a.png"


def test_a_sheet_of_two_priors_shows_both_beside_the_photo(one_picture: tuple[RunFolders, Path]) -> None:
    folders, photos = one_picture
    other = replace(setting("a"), prior="stylegan2")
    picture = folders.pictures / other.picture
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (280, 300), (10, 20, 30)).save(picture)
    rows.append(folders.rows / rows.PROTECT_FILE, protect_row(other, 0.1))
    (path,) = contact_sheets.draw(folders, photos, "c2p", 0.7, "dlib", 4, close=False, priors=("makeup", "stylegan2"))
    sheet, cell = Image.open(path), 420
    middles = [sheet.getpixel((cell // 2 + index * (cell + 4), sheet.height // 2)) for index in range(3)]
    assert middles == [(100, 100, 100), (105, 105, 105), (10, 20, 30)]


@pytest.mark.parametrize(
    "options", [["--quick", "--prior", "stylegan2"], ["--suite", "speed", "--prompt", "red lipstick"]]
)
def test_an_option_that_a_suite_does_not_use_is_refused(options: list[str]) -> None:
    result = CliRunner().invoke(main, ["run", *options])
    assert result.exit_code == 2 and f"takes no {options[-2]}" in result.output


def test_the_speed_suite_refuses_a_second_strength() -> None:
    result = CliRunner().invoke(main, ["run", "--suite", "speed", "--strength", "0.3,0.7"])
    assert result.exit_code == 2 and "one --strength" in result.output


def test_a_missing_list_of_faces_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", "--faces", str(tmp_path / "none.txt"), "--photos", str(tmp_path)])
    assert result.exit_code == 2 and "none.txt" in result.output
