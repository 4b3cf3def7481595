"""The quick suite: real models, few faces and steps; every effect has the sign it should have."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from synthetic import natural_row, protect_row, robustness_row, setting

from benchmarks.data import list_faces, sample_evenly, write_sample_portrait
from benchmarks.errors import NoData
from benchmarks.methods.catalogue import SEARCH_METHODS
from benchmarks.rows import NO_FAMILY, NaturalRow, ProtectRow
from benchmarks.suites import quick
from c2p_core.api import DEFAULT_STRENGTH


@pytest.mark.slow
def test_every_effect_has_its_sign(tmp_path: Path) -> None:
    """One face, among those that `benchmarks run --quick` measures."""
    try:
        faces = sample_evenly(list_faces(), quick.FACES)
    except NoData as error:
        warnings.warn(f"THE SHARED FACES WERE SKIPPED, one sample portrait is measured instead. {error}", stacklevel=1)
        faces = (write_sample_portrait(tmp_path),)
    messages: list[str] = []
    problems = quick.measure(faces[:1], tmp_path, 1, messages.append, search_among=faces)
    assert problems == [], "\n".join(messages)


def make_rows(
    searched: float, noise: float, nothing: float = 1.0, decoy: float = 0.7
) -> tuple[list[ProtectRow], list[NaturalRow]]:
    """Rows of the quick suite for one face: similarities after the search, after strong noise, after nothing."""
    settings = {
        ("c2p", DEFAULT_STRENGTH): (searched, 28.0),
        ("decoy", DEFAULT_STRENGTH): (decoy, 29.0),
        ("pgd", 0.4): (0.7, 35.0),
        ("masked-noise", 0.1): (0.95, 45.0),
        ("masked-noise", 0.4): (noise, 34.0),
        ("look", DEFAULT_STRENGTH): (0.97, 42.0),
        ("blur", 0.1): (0.9, 32.0),
        ("blur", 0.4): (0.3, 24.0),
        ("pixelate", 0.4): (0.2, 23.0),
        ("nothing", DEFAULT_STRENGTH): (nothing, 100.0),
    }
    protect, natural = [], []
    for (method, strength), (after, psnr) in settings.items():
        hold_out = "mobileface" if method in SEARCH_METHODS else NO_FAMILY
        key = setting("a", hold_out, strength, method)
        row = protect_row(key, after)
        ranked = tuple(type(s)(**{**vars(s), "rank": 1}) for s in row.scores)
        protect.append(protect_row(key, scores=ranked))
        natural.append(natural_row(key, psnr=psnr))
    blackout = setting("a", NO_FAMILY, DEFAULT_STRENGTH, "blackout")
    protect.append(protect_row(blackout, scores=(), face_after=False))
    return protect, natural


def find_wrong(protect: list[ProtectRow], natural: list[NaturalRow]) -> list[str]:
    return quick.find_wrong_signs(protect, natural, [robustness_row(setting("a", "mobileface"), {"JPEG 95": 0.11})])


def test_effects_with_the_right_signs_pass() -> None:
    assert find_wrong(*make_rows(0.6, 0.5)) == []


def test_a_search_without_effect_is_reported() -> None:
    assert any("it is run against" in sentence for sentence in find_wrong(*make_rows(0.97, 0.5)))


def test_a_flattering_harness_is_reported() -> None:
    assert "Doing nothing protects somebody." in find_wrong(*make_rows(0.3, 0.5, nothing=0.2))


def test_a_decoy_search_without_effect_is_reported() -> None:
    assert find_wrong(*make_rows(0.6, 0.5, decoy=0.97)) == [
        "The search towards a decoy does not lead away from the person."
    ]


def test_noise_that_does_not_protect_more_with_strength_is_reported() -> None:
    assert find_wrong(*make_rows(0.6, 0.96)) == ["More noise does not protect more."]
