from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic import other_score, others_row, protect_row, setting

from benchmarks import agreement
from benchmarks.agreement import Agreement

PHOTOS = [f"photo{number:02d}" for number in range(agreement.FEWEST)]
SPREADS = {"dlib-resnet": 0.1, "faceres": 0.2, "faceres-deep": 0.2, "mobileface": 0.1}


def said(*values: float) -> dict[str, float]:
    return dict(zip(PHOTOS, values, strict=True))


def test_who_goes_along_with_the_others_is_told_from_who_does_not() -> None:
    """The first rises with the photos, the second ten times as fast, the third falls."""
    rising = [float(number) for number in range(agreement.FEWEST)]
    found = agreement.agreement(
        {
            "first": said(*rising),
            "second": said(*(10 * value for value in rising)),
            "third": said(*(-value for value in rising)),
        }
    )
    # The others of the first are 10 x - x over 2, of the second nothing at all, of the third 10 x + x over 2.
    mean = sum(rising) / len(rising)
    assert found["first"] == Agreement(
        agreement.FEWEST, pytest.approx(1.0), pytest.approx(1.0), pytest.approx(mean), pytest.approx(4.5 * mean)
    )
    assert found["second"].pearson is None
    assert found["third"].pearson == pytest.approx(-1.0)


def test_the_easiest_is_not_chosen_however_well_it_goes_along() -> None:
    found = {
        "easy": Agreement(40, 0.9, 0.9, -1.0, 0.5),
        "fair": Agreement(40, 0.7, 0.7, 0.4, 0.0),
        "odd": Agreement(40, 0.1, 0.1, 2.0, -0.3),
    }
    assert agreement.choose(found) == "fair"
    assert agreement.choose({}) is None


def test_photos_that_a_family_has_not_judged_are_left_out() -> None:
    values = [float(number) for number in range(agreement.FEWEST)]
    short = dict(list(said(*values).items())[:-1])
    assert agreement.agreement({"first": said(*values), "second": short}) == {}
    assert agreement.agreement({"first": said(*values)}) == {}


def test_answers_are_in_spreads_above_the_threshold_and_of_held_out_families_alone() -> None:
    """Thresholds are 0.4; faceres' two recognisers have spreads of 0.2 and are averaged."""
    low = {"dlib-resnet": 0.5, "faceres": 0.6, "faceres-deep": 0.4, "mobileface": 0.9}
    rows = [protect_row(setting("a", family), low) for family in ("dlib", "faceres")]
    answers = agreement.same_photo(rows, SPREADS)
    assert answers == {"dlib": {"a": pytest.approx(1.0)}, "faceres": {"a": pytest.approx(0.5)}}
    assert "dlib" not in agreement.same_photo(rows, {"faceres": 0.2})


def test_other_photos_count_with_their_mean() -> None:
    score = other_score("dlib-resnet", {"p1/2": (0.9, 0.5), "p1/3": (0.9, 0.7)})
    rows = [others_row(setting("p1/1", "dlib"), (score, replace(score, family="faceres")))]
    assert agreement.other_photos(rows, SPREADS) == {"dlib": {"p1/1": pytest.approx(2.0)}}


def test_the_report_names_who_agrees_and_who_is_easiest() -> None:
    rows = [
        protect_row(setting(photo, family), 0.5 + 0.01 * at * sign - shift)
        for at, photo in enumerate(PHOTOS)
        for family, sign, shift in (("dlib", 2, 0.5), ("faceres", 1, 0.0), ("mobileface", -1, 0.0))
    ]
    text = agreement.section([], rows, SPREADS)
    assert "strength 0.7, same photo | dlib | 10 |" in text
    assert text.endswith("dlib is the easiest to fool; of the rest faceres goes along best")
    assert agreement.section([], rows[:2], SPREADS) == ""
