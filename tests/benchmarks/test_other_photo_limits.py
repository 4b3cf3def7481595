"""`bundle/train/other_photos.py` on photos with known lost matches."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import rows
from benchmarks.rows import OthersRow
from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import list_recognisers
from c2p_core.recognition.other_photos import read_other_photos
from c2p_core.recognition.thresholds import Thresholds, read_thresholds
from tests.benchmarks.synthetic import other_score, others_row, setting

SCRIPT = Path(__file__).parents[2] / "bundle" / "train" / "other_photos.py"
THRESHOLDS = {name: Thresholds(0.4, 0.6, 0.0, 0.1) for name in ("dlib-resnet", "faceres")}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("other_photos_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "other_photos_script", module)
    spec.loader.exec_module(module)
    return module


def make_row(own: float, lost: int, photo: str = "p1/1", strength: float = 0.5, hold_out: str = "dlib") -> OthersRow:
    """A protected photo that dlib, held out or not, matched with ten others before, and with ``lost`` fewer now."""
    others = {f"{photo}-{n}": (0.5, 0.3 if n < lost else 0.45) for n in range(10)} | {"never": (0.2, 0.1)}
    role = "held-out" if hold_out == "dlib" else "white-box"
    score = other_score("dlib-resnet", others, role, own=own, far1=0.9)
    return others_row(setting(photo, hold_out, strength), (score,))


def list_labels(count: int, people: int = 5) -> list[str]:
    return [f"p{n % people + 1}/{n // people + 1}" for n in range(count)]


def test_the_limit_is_the_highest_similarity_at_which_four_of_five_are_lost(script: ModuleType) -> None:
    matches = [
        script.PhotoMatches("p1/1", similarity, 10, lost)
        for similarity, lost in ((0.1, 10), (0.3, 9), (0.5, 8), (0.6, 7), (0.7, 2))
    ]
    assert script.fit_limit(matches) == 0.5


def test_an_outlier_does_not_raise_the_limit(script: ModuleType) -> None:
    # 4 and 9 of ten are pooled to 6.5: the second photo is an outlier.
    matches = [
        script.PhotoMatches("p1/1", similarity, 10, lost)
        for similarity, lost in ((0.1, 10), (0.2, 9), (0.4, 4), (0.5, 9), (0.7, 2))
    ]
    assert script.fit_limit(matches) == 0.2


def test_photos_are_weighted_by_their_matches(script: ModuleType) -> None:
    few, many = script.PhotoMatches("p1/1", 0.4, 1, 0), script.PhotoMatches("p1/2", 0.5, 99, 99)
    assert script.fit_limit([script.PhotoMatches("p1/3", 0.1, 10, 10), few, many]) == 0.5
    many = script.PhotoMatches("p1/2", 0.5, 1, 1)
    assert script.fit_limit([script.PhotoMatches("p1/3", 0.1, 30, 30), few, many]) == 0.1


def test_too_few_matches_below_the_limit_give_no_promise(script: ModuleType) -> None:
    assert script.fit_limit([]) == script.NEVER
    matches = [script.PhotoMatches("p1/1", 0.1, 10, 10), script.PhotoMatches("p1/2", 0.5, 90, 10)]
    assert script.fit_limit(matches) == script.NEVER


def test_pairs_that_never_matched_and_photos_without_a_face_do_not_count(script: ModuleType) -> None:
    faceless = others_row(setting("p2/1"), (other_score("dlib-resnet", {"p2/2": (0.5, None)}, own=None),))
    selected = script.select_default_rows([make_row(0.5, 7), faceless], THRESHOLDS)
    assert script.collect_matches("dlib-resnet", selected) == [script.PhotoMatches("p1/1", 0.5, 10, 7)]


def test_current_thresholds_replace_those_of_the_row(script: ModuleType) -> None:
    stricter = {"dlib-resnet": Thresholds(0.25, 0.6, 0.0, 0.1)}
    (matches,) = script.collect_matches("dlib-resnet", script.select_default_rows([make_row(0.5, 7)], stricter))
    assert (matches.matches, matches.lost) == (10, 0)


def test_rows_of_other_settings_are_left_out_and_a_later_row_replaces_an_earlier_one(script: ModuleType) -> None:
    row = make_row(0.5, 7)
    unusual = [
        replace(row, setting=replace(row.setting, **change))
        for change in ({"steps": 10}, {"prompt": "gothic"}, {"prior": "stylegan2"}, {"method": "blur"})
    ]
    (selected,) = script.select_default_rows([row, *unusual, replace(row, seconds=99.0)], THRESHOLDS)
    assert selected.seconds == 99.0 and selected.scores[0].far1 == 0.4


def test_a_limit_from_the_photos_of_a_single_person_is_no_promise(script: ModuleType) -> None:
    low = [script.PhotoMatches(photo, 0.2, 10, 10) for photo in list_labels(20)]
    single_person = [script.PhotoMatches("p1/9", 0.5, 100, 100)]
    high = [script.PhotoMatches(photo, 0.8, 10, 1) for photo in list_labels(20)]
    entry = script.make_recogniser_entry(low + high)
    assert entry["up_to"] == 0.2 and entry["people_left_out"] == 1.0
    assert (entry["lost_up_to"], entry["lost_beyond"]) == (1.0, 0.1)
    assert (entry["matches"], entry["matches_up_to"], entry["photos"], entry["people"]) == (400, 200, 20, 5)
    # Without p1 there are no photos below 0.8, so p1's photo can't be validated.
    unvalidated = script.make_recogniser_entry(single_person + high)
    assert unvalidated["up_to"] == script.NEVER and unvalidated["people_left_out"] is None


def test_a_recogniser_with_few_matches_is_left_out(script: ModuleType) -> None:
    assert script.make_recogniser_entry([script.PhotoMatches(photo, 0.2, 1, 1) for photo in list_labels(99)]) is None


def test_strengths_are_compared_on_the_photos_that_they_share(script: ModuleType) -> None:
    weak = [make_row(0.5, 6, photo, 0.5, family) for photo in list_labels(20) for family in ("dlib", "faceres")]
    strong = [make_row(0.3, 8, photo, 0.75, family) for photo in list_labels(20) for family in ("dlib", "faceres")]
    # A photo that was measured at one strength alone, and another strength with few photos.
    one_strength = [make_row(0.1, 10, "p9/1", 0.75, family) for family in ("dlib", "faceres")]
    few = [make_row(0.1, 10, "p1/1", 1.0, family) for family in ("dlib", "faceres")]
    entries = script.make_strength_entries(script.select_default_rows(weak + strong + one_strength + few, THRESHOLDS))
    assert [(e["strength"], e["held_out"], e["white_box"]) for e in entries] == [(0.5, 0.6, 0.6), (0.75, 0.8, 0.8)]
    assert {(e["photos"], e["people"]) for e in entries} == {(20, 5)}


def test_strengths_of_different_photos_are_not_compared(script: ModuleType) -> None:
    measured = [make_row(0.5, 6, photo, 0.5) for photo in list_labels(20)]
    measured += [replace(row, photos="other", setting=replace(row.setting, strength=0.75)) for row in measured]
    with pytest.raises(SystemExit, match=r"0\.5, 0\.75 have too few photos in common"):
        script.make_strength_entries(script.select_default_rows(measured, THRESHOLDS))


def test_no_rows_with_default_settings_is_an_error(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="python -m benchmarks others"):
        script.build_table([], THRESHOLDS)


def test_the_program_reads_the_written_file(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = read_thresholds(bundle_dir() / "mini" / "thresholds.json")["dlib-resnet"].far1
    others = {f"o{n}": (limit + 0.01, limit - 0.01 if n else limit + 0.01) for n in range(10)}
    for photo in list_labels(20):
        for role, family in (("held-out", "dlib"), ("white-box", "faceres")):
            score = other_score("dlib-resnet", others, role, own=0.25)
            rows.append(tmp_path / "rows.jsonl", others_row(setting(photo, family, 0.5), (score,)))
    arguments = ["x", "--rows", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "o.json")]
    monkeypatch.setattr(sys, "argv", arguments)
    script.main()
    limits = read_other_photos(tmp_path / "o.json")
    assert (limits.prior, limits.up_to, limits.strengths) == ("makeup", {"dlib-resnet": 0.25}, ((0.5, 0.9),))


def test_the_shipped_file_was_counted_at_the_shipped_thresholds(script: ModuleType) -> None:
    table = json.loads((bundle_dir() / "mini" / "other-photos.json").read_text(encoding="utf-8"))
    thresholds = read_thresholds(bundle_dir() / "mini" / "thresholds.json")
    assert set(table["recognisers"]) <= set(list_recognisers(ModelStore(offline=True)))
    for name, entry in table["recognisers"].items():
        assert entry["far1"] == thresholds[name].far1, f"{name}: start bundle/train/other_photos.py again"
        assert entry["matches"] >= script.ENOUGH
        if entry["up_to"] != script.NEVER:
            assert entry["people_left_out"] >= script.LOST_SHARE and entry["lost_up_to"] >= script.LOST_SHARE
            assert entry["lost_beyond"] < entry["lost_up_to"]
