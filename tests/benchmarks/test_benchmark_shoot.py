"""The measurement of shoots: grouping, and comparisons of a person's protected photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from benchmarks.metrics.grouping import adjusted_rand_index
from benchmarks.metrics.product_colours import Differences, compare_product_colours, measure_product_colours
from benchmarks.report.shoot import write_section
from benchmarks.rows import ALONE, COLD_SHOOT, SHOOT, SHOOT_FILE
from benchmarks.suites.gallery import Gallery
from benchmarks.suites.lights import photograph_in_lights
from benchmarks.suites.shoot import Protected, measure_grouping, summarise, summarise_products
from c2p_core.photo import Layer


@dataclass(frozen=True)
class Recogniser:
    name: str
    family: str
    far1: float = 0.5
    far01: float = 0.7


def test_the_adjusted_rand_index_is_1_for_the_same_groups_and_0_without_any_information() -> None:
    assert adjusted_rand_index("aabbc", [4, 4, 0, 0, 1]) == pytest.approx(1.0)
    assert adjusted_rand_index("aabb", [0, 0, 0, 0]) == pytest.approx(0.0)
    # Of Hubert and Arabie's formula by hand: 1 pair together in both, 2 and 2 in each, 6 in all.
    assert adjusted_rand_index("aabb", [0, 0, 1, 2]) == pytest.approx((1 - 2 / 6) / (1.5 - 2 / 6))


def test_people_are_grouped_among_strangers() -> None:
    axes = np.eye(6, dtype=np.float32)
    people = Gallery(("p1/1", "p1/2", "p2/1", "p2/2"), {"a": axes[[0, 0, 1, 1]]}, {})
    strangers = Gallery(("x", "y"), {"a": axes[[1, 5]]}, {})
    figures = measure_grouping(people, strangers, Recogniser("a", "a"))  # type: ignore[arg-type]
    assert figures["ari"] == pytest.approx(1.0) and figures["joined"] == 0.5
    assert 0 < figures["with_strangers"] < 1
    assert measure_grouping(people, None, Recogniser("a", "a")) == {"ari": pytest.approx(1.0)}  # type: ignore[arg-type]


def photo(before: tuple[float, float], after: tuple[float, float], red: float, label: str = "p1/1") -> Protected:
    def unit(values: tuple[float, float]) -> dict[str, np.ndarray]:
        vector = np.array(values, np.float32) / np.hypot(*values)
        return {"a": vector, "b": vector}

    lips = np.array([50.0, red, 0])
    return Protected(label, unit(before), unit(after), np.array([50.0, 0, 0]), lips, 100, 10.0, {"Lipstick": lips})


def test_matches_with_others_and_between_protected_photos_are_counted_separately() -> None:
    # Both protected photos move in the same direction: they lose the others, and match each other.
    same = [photo((1, 0), (0, 1), 20.0), photo((1, 0.1), (0.1, 1), 20.0, "p1/2")]
    recognisers = (Recogniser("a", "held"), Recogniser("b", "seen"))
    summary = summarise([same], recognisers, "held")  # type: ignore[arg-type]
    assert summary["held-out"] == {"others": 1.0, "protected": 0.0} == summary["white-box"]
    assert summary["lips"] == pytest.approx(0.0) and summary["steps"] == 100
    assert summary["measured_on"] == ["p1/1", "p1/2"] == summarise_products([same])["measured_on"]
    apart = summarise([[same[0], photo((1, 0.1), (0, -1), 40.0)]], recognisers, "held")  # type: ignore[arg-type]
    assert apart["held-out"] == {"others": 1.0, "protected": 1.0} and apart["lips"] > 5
    colours = summarise_products([[same[0], photo((1, 0.1), (0, -1), 40.0)], same])
    assert colours["products_most"] == apart["lips"] and colours["products"] == apart["lips"] / 2
    assert (colours["products_alone"], summarise_products([])["products"]) == (0.0, None)


def test_people_with_one_photo_are_left_out_and_at_least_one_must_have_two() -> None:
    single, recognisers = photo((1, 0), (0, 1), 20.0), (Recogniser("a", "held"),)
    pair = [single, photo((1, 0.1), (0.1, 1), 20.0)]
    assert summarise([[single], pair], recognisers, "held") == summarise([pair], recognisers, "held")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two photos"):
        summarise([[single]], recognisers, "held")  # type: ignore[arg-type]


def test_one_portrait_becomes_photos_in_several_lights(tmp_path: Path) -> None:
    grey = np.full((100, 80, 3), 128, np.uint8)
    grey[:, :20] = 0
    Image.fromarray(grey).save(tmp_path / "p.png")
    photos = {
        path.stem: np.asarray(Image.open(path)) for path in photograph_in_lights(tmp_path / "p.png", tmp_path / "p")
    }
    np.testing.assert_array_equal(photos["daylight"], grey)
    red, green, blue = photos["lamp"][50, 10]
    assert red > green > blue > 0 and not photos["lamp"][:, -20:].any()
    assert photos["shade"].shape == (90, 70, 3) and photos["flash"].max() > 128


def layer(name: str, grey: int, alpha: int) -> Layer:
    """A hard-light layer of one grey, with one much fainter pixel."""
    pixels = np.full((4, 4, 4), grey, np.uint8)
    pixels[..., 3] = alpha
    pixels[0, 0] = 255, 255, 255, 1
    return Layer(name, 1, "hard-light", 0, 0, pixels)


def test_a_products_colour_is_measured_on_a_reference_skin() -> None:
    half = measure_product_colours([layer("Lipstick", 128, 255), layer("Foundation", 0, 255)])
    assert set(half) == {"Lipstick"}
    np.testing.assert_allclose(half["Lipstick"], rgb2lab(np.array([0.78, 0.60, 0.50])), atol=0.5)
    black = measure_product_colours([layer("Lipstick", 0, 255), layer("Blush", 0, 127)])
    assert black["Lipstick"][0] < 0.1 < black["Blush"][0] < half["Lipstick"][0] - 20


def test_products_are_compared_if_both_photos_have_them() -> None:
    first, second = {"Lipstick": np.array([50.0, 20, 0])}, {"Lipstick": np.array([50.0, 60, 0])}
    with_blush = {**first, "Blush": np.array([60.0, 0, 0])}
    assert compare_product_colours([first, with_blush]) == Differences((0.0,), 1)
    differences = compare_product_colours([first, second, with_blush])
    assert len(differences.colours) == 3 and differences.unshared == 2 and max(differences.colours) > 5


def test_the_report_has_a_line_for_every_recogniser_and_method(tmp_path: Path) -> None:
    assert write_section(tmp_path / SHOOT_FILE) == ""
    figures = {
        "held-out": {"others": 0.79, "protected": 0.67},
        "white-box": {"others": 0.93, "protected": 0.86},
        "lips": 2.0,
        "lips_before": 3.0,
        "steps": 75.0,
        "seconds": 9.0,
        "measured_on": ["p1/1", "p1/2", "p2/1", "p2/2"],
    }
    cold = {**figures, "seconds": 18.9, "steps": 150.0}
    look = {"products": 1.54, "products_most": 4.0, "products_alone": 0.25, "measured_on": ["a/lamp", "a/flash"]}
    results = {
        "code": "abc",
        "photos": 40,
        "people": 8,
        "strangers": 0,
        "grouping": {"a": {"ari": 0.95}, "b": {"ari": 0.5, "with_strangers": 0.4, "joined": 0.25}},
        "seconds_for_5000": {"of_150_people": 0.2, "alike": 1.5},
        "looks": {SHOOT: look},
        "shoot": {ALONE: {**figures, "seconds": 18.0, "steps": 150.0}, SHOOT: figures, COLD_SHOOT: cold},
    }
    (tmp_path / SHOOT_FILE).write_text(json.dumps(results))
    section = write_section(tmp_path / SHOOT_FILE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    assert ["a", "0.95", "–", "–"] in rows and ["b", "0.50", "0.40", "25 %"] in rows
    shoot = ["as a shoot", "people: 2, photos: 4", "79 %", "93 %", "67 %", "86 %", "2.0 (before 3.0)", "75", "9"]
    assert shoot in rows and ["each by itself", *shoot[1:-2], "150", "18"] in rows
    assert "2.10 times less time" in section and ["as a shoot", "portraits: 1, photos: 2", "1.5", "4.0", "25 %"] in rows
