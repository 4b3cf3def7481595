from __future__ import annotations

from dataclasses import replace

import pytest
from pandas import DataFrame
from synthetic import other_score, others_row, protect_row, setting

from benchmarks.frames import make_pair_frame, make_score_frame
from benchmarks.report import agreement

PHOTOS = [f"photo{number:02d}" for number in range(agreement.MIN_PHOTOS)]
IMPOSTOR_STDS = {"dlib-resnet": 0.1, "faceres": 0.2, "faceres-deep": 0.2, "mobileface": 0.1}


def make_margins(**families: list[float]) -> DataFrame:
    return DataFrame(families, index=PHOTOS[: len(next(iter(families.values())))])


def test_a_family_that_agrees_with_the_others_has_a_high_correlation() -> None:
    """The first rises with the photos, the second ten times as fast, the third falls."""
    rising = [float(number) for number in range(agreement.MIN_PHOTOS)]
    correlations = agreement.correlate(
        make_margins(first=rising, second=[10 * value for value in rising], third=[-value for value in rising])
    )
    # The others of the first are 10 x - x over 2, of the second nothing at all, of the third 10 x + x over 2.
    mean = sum(rising) / len(rising)
    first = correlations.loc["first", ["photos", "pearson", "spearman", "margin", "others"]]
    assert list(first) == pytest.approx([agreement.MIN_PHOTOS, 1.0, 1.0, mean, 4.5 * mean])
    assert correlations["pearson"].isna().to_dict() == {"first": False, "second": True, "third": False}
    assert correlations["pearson"]["third"] == pytest.approx(-1.0)


def test_the_family_that_is_easiest_to_fool_is_not_chosen_however_well_it_agrees() -> None:
    correlations = DataFrame({"pearson": [0.9, 0.7, 0.1], "margin": [-1.0, 0.4, 2.0]}, index=["easy", "fair", "odd"])
    assert agreement.choose_hold_out(correlations) == "fair"
    assert agreement.choose_hold_out(agreement.correlate(make_margins(alone=[0.0]))) is None


def test_photos_that_a_family_has_not_judged_are_left_out() -> None:
    values = [float(number) for number in range(agreement.MIN_PHOTOS)]
    assert agreement.correlate(make_margins(first=values, second=[*values[:-1], float("nan")])).empty
    assert agreement.correlate(make_margins(first=values)).empty


def test_margins_are_in_standard_deviations_above_the_threshold_and_of_held_out_families_only() -> None:
    """Thresholds are 0.4; faceres' two recognisers have standard deviations of 0.2 and are averaged."""
    low = {"dlib-resnet": 0.5, "faceres": 0.6, "faceres-deep": 0.4, "mobileface": 0.9}
    rows = [protect_row(setting("a", family), low) for family in ("dlib", "faceres")]
    scores = make_score_frame((row, row.scores) for row in rows)
    margins = agreement.compute_margins(scores, IMPOSTOR_STDS)
    assert margins.loc["a"].to_dict() == pytest.approx({"dlib": 1.0, "faceres": 0.5})


def test_a_recogniser_without_impostor_pairs_is_left_out() -> None:
    rows = [protect_row(setting("a", family), 0.5) for family in ("dlib", "faceres")]
    scores = make_score_frame((row, row.scores) for row in rows)
    assert list(agreement.compute_margins(scores, {"faceres": 0.2})) == ["faceres"]


def test_the_margins_of_other_photos_are_averaged() -> None:
    score = other_score("dlib-resnet", {"p1/2": (0.9, 0.5), "p1/3": (0.9, 0.7)})
    rows = [others_row(setting("p1/1", "dlib"), (score, replace(score, recogniser="faceres", family="faceres")))]
    assert agreement.compute_margins(make_pair_frame(rows), IMPOSTOR_STDS).to_dict() == {
        "dlib": {"p1/1": pytest.approx(2.0)}
    }


def test_the_report_names_the_family_that_agrees_best_and_the_easiest_to_fool() -> None:
    rows = [
        protect_row(setting(photo, family), 0.5 + 0.01 * index * sign - shift)
        for index, photo in enumerate(PHOTOS)
        for family, sign, shift in (("dlib", 2, 0.5), ("faceres", 1, 0.0), ("mobileface", -1, 0.0))
    ]
    text = agreement.write_section([], rows, IMPOSTOR_STDS)
    assert "strength 0.7, same photo | dlib | 10 |" in text
    assert text.endswith("dlib is the easiest to fool; of the rest, faceres agrees best with the others")
    assert agreement.write_section([], rows[:2], IMPOSTOR_STDS) == ""


def test_the_report_names_recognisers_without_impostor_pairs() -> None:
    rows = [
        protect_row(setting(photo, family), 0.5) for photo in PHOTOS for family in ("dlib", "faceres", "mobileface")
    ]
    text = agreement.write_section([], rows, {name: std for name, std in IMPOSTOR_STDS.items() if name != "mobileface"})
    assert text.endswith("- left out, because no impostor pairs of theirs were measured: mobileface")
