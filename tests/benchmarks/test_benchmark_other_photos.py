"""Searches with other photos, on embeddings with results computed by hand, and once on generated people."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from generated_people import generate_two_people
from PIL import Image
from synthetic import make_vectors, other_score, others_row, setting

from benchmarks import rows
from benchmarks.__main__ import main
from benchmarks.data import RunFolders, list_people, parse_person
from benchmarks.errors import NoData
from benchmarks.frames import make_pair_frame, make_search_frame
from benchmarks.metrics.other_photos import lost_matches, missed_originals, rank1_hits, rate, rate_over_families
from benchmarks.metrics.psr import Rate
from benchmarks.recognisers import list_families, open_store
from benchmarks.report import contact_sheets
from benchmarks.report.document import write_report
from benchmarks.report.other_photos import list_targets
from benchmarks.rows import OthersRow, ProtectedPairsRow
from benchmarks.suites import gallery, other_photos
from benchmarks.suites.gallery import Embeddings, Gallery
from benchmarks.suites.other_photos import Plan, Task
from c2p_core.models.store import ModelStore
from c2p_core.recognition import list_recognisers
from tests.error_assertions import raising

RECOGNISERS = list_recognisers(ModelStore(offline=True))


class FakeRecogniser:
    """A recogniser with the attributes that comparisons need."""

    def __init__(self, name: str, family: str) -> None:
        self.name, self.family, self.far1, self.far01 = name, family, 0.8, 0.95


IN_THE_PLANE = [FakeRecogniser("one", "first"), FakeRecogniser("two", "second")]


def make_gallery(*degrees: float, names: tuple[str, ...] = ("p1/1", "p1/2", "p2/1")) -> Gallery:
    """A gallery of photos at these directions, the same for both recognisers."""
    return Gallery(names, {recogniser.name: make_vectors(*degrees) for recogniser in IN_THE_PLANE}, {})


def make_probe(degrees: float) -> Embeddings:
    return {recogniser.name: make_vectors(degrees)[0] for recogniser in IN_THE_PLANE}


def write_photos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), len(name), np.uint8)).save(folder / name)


def test_people_are_distinguished_by_the_name_before_the_number(tmp_path: Path) -> None:
    write_photos(tmp_path, "zoe2.png", "zoe10.png", "zoe1.png", "ann_1.jpg", "LICENSE1.txt.png")
    (tmp_path / "README.md").touch()
    people = list_people(tmp_path)
    assert [people[f"p3/{n}"].name for n in (1, 2, 3)] == ["zoe1.png", "zoe2.png", "zoe10.png"]
    assert people["p2/1"].name == "ann_1.jpg"
    assert parse_person("p3/2") == "p3"


def test_photos_named_by_a_number_are_a_person_each(tmp_path: Path) -> None:
    write_photos(tmp_path, "1.png", "2.png")
    assert sorted(list_people(tmp_path)) == ["p1/1", "p2/1"]


def test_a_folder_may_hold_a_folder_for_each_person(tmp_path: Path) -> None:
    write_photos(tmp_path, "b/x.png", "b/y.png", "a/x.png")
    assert {label: path.relative_to(tmp_path).as_posix() for label, path in list_people(tmp_path).items()} == {
        "p1/1": "a/x.png",
        "p2/1": "b/x.png",
        "p2/2": "b/y.png",
    }


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    with raising(NoData, "no-photos", folder=tmp_path):
        list_people(tmp_path)
    result = CliRunner().invoke(main, ["others", "--photos", str(tmp_path)])
    assert result.exit_code == 2 and str(NoData("no-photos", folder=tmp_path)) in " ".join(result.output.split())


def test_a_protected_photo_is_compared_with_the_unprotected_others() -> None:
    """The photo moves from 0 to 60 degrees; the person's other one is at 20, somebody else at 90, a stranger at 50."""
    strangers = Gallery(("s",), {recogniser.name: make_vectors(50) for recogniser in IN_THE_PLANE}, {})
    held_out, searched = other_photos.compare(
        "p1/1", make_probe(60), make_gallery(0, 20, 90), strangers, IN_THE_PLANE, "first"
    )
    cosine = {angle: pytest.approx(np.cos(np.radians(angle)), abs=1e-6) for angle in (10, 20, 30, 40, 50, 60, 90)}
    assert (held_out.role, searched.role) == ("held-out", "white-box")
    assert held_out.others == {"p1/2": (cosine[20], cosine[40])}
    assert held_out.own == cosine[60]
    assert held_out.nearest == (cosine[90], cosine[30])
    assert held_out.stranger == (cosine[50], cosine[10])


def test_a_protected_photo_without_a_face_has_only_similarities_before() -> None:
    (score, _) = other_photos.compare("p1/1", None, make_gallery(0, 20, 90), None, IN_THE_PLANE, "first")
    assert score.others["p1/2"][1] is None and score.own is None and score.stranger is None
    assert score.nearest is not None and score.nearest[1] is None


def test_a_photo_whose_original_shows_no_face_is_compared_with_nothing() -> None:
    assert other_photos.compare("p9/1", make_probe(0), make_gallery(0, 20, 90), None, IN_THE_PLANE, "first") == ()


def test_two_protected_photos_of_one_person_are_compared_once() -> None:
    references = make_gallery(0, 20, 90)
    probes: dict[str, Embeddings | None] = {"p1/1": make_probe(60), "p1/2": make_probe(30), "p2/1": make_probe(40)}
    (score, _) = other_photos.compare_protected("p1/1", probes, references, IN_THE_PLANE, "first")
    assert score.others == {"p1/2": (pytest.approx(np.cos(np.radians(20))), pytest.approx(np.cos(np.radians(30))))}
    assert other_photos.compare_protected("p1/2", probes, references, IN_THE_PLANE, "first") == ()
    lost = other_photos.compare_protected("p1/1", {**probes, "p1/2": None}, references, IN_THE_PLANE, "first")
    assert lost[0].others["p1/2"][1] is None


def test_photo_ten_comes_after_photo_nine() -> None:
    references = make_gallery(0, 1, 2, names=("p1/9", "p1/10", "p2/1"))
    probes: dict[str, Embeddings | None] = {"p1/9": make_probe(0), "p1/10": make_probe(1)}
    assert set(other_photos.compare_protected("p1/9", probes, references, IN_THE_PLANE, "first")[0].others) == {"p1/10"}


def make_rows(*scores: rows.OtherScore) -> list[OthersRow]:
    """One row per person and score."""
    return [others_row(setting(f"p{number}/1"), (score,)) for number, score in enumerate(scores, start=1)]


def test_only_what_matched_before_can_be_lost_and_each_photo_counts_once_in_the_interval() -> None:
    """Of four pairs three match at 0.4: one still does, one drops between the thresholds, one lost its face."""
    first = other_score("faceres", {"p1/2": (0.9, 0.5), "p1/3": (0.7, 0.3), "p1/4": (0.3, 0.1)})
    pairs = make_pair_frame(make_rows(first, other_score("faceres", {"p2/2": (0.8, None)})))
    assert rate(lost_matches(pairs, "far1")) == Rate(2 / 3, 2)
    assert rate(lost_matches(pairs, "far01")) == Rate(1.0, 2)
    assert rate(lost_matches(make_pair_frame(make_rows(other_score("faceres", {"p1/2": (0.1, 0.0)}))), "far1")) is None


def test_rank_1_leaves_out_the_photos_own_original() -> None:
    identified = other_score("faceres", {"p1/2": (0.9, 0.2), "p1/3": (0.5, 0.6)}, own=0.99, nearest=(0.3, 0.5))
    lost = other_score("faceres", {"p2/2": (0.9, 0.4)}, own=0.99, nearest=(0.3, 0.5))
    without_face = other_score("faceres", {"p3/2": (0.2, None)}, nearest=(0.3, None))
    tied = other_score("faceres", {"p4/2": (0.9, 0.5)}, nearest=(0.3, 0.5))
    without_mate = other_score("faceres", {}, nearest=(0.3, 0.5))
    searches = make_search_frame(make_rows(identified, lost, without_face, tied, without_mate))
    assert rate(rank1_hits(searches, protected=True, strangers=False)) == Rate(1 / 4, 4)
    assert rate(rank1_hits(searches, protected=False, strangers=False)) == Rate(3 / 4, 4)
    assert rate(rank1_hits(searches, protected=True, strangers=True)) is None


def test_a_further_stranger_may_be_nearer() -> None:
    score = other_score("faceres", {"p1/2": (0.9, 0.6)}, nearest=(0.3, 0.5), stranger=(0.4, 0.7))
    searches = make_search_frame(make_rows(score))
    assert rate(rank1_hits(searches, protected=True, strangers=False)) == Rate(1.0, 1)
    assert rate(rank1_hits(searches, protected=True, strangers=True)) == Rate(0.0, 1)
    assert rate(rank1_hits(searches, protected=False, strangers=True)) == Rate(1.0, 1)


def test_the_same_photo_is_missed_below_the_threshold_or_without_a_face() -> None:
    searches = make_search_frame(make_rows(*(other_score("faceres", {}, own=own) for own in (0.9, 0.5, 0.3, None))))
    assert rate(missed_originals(searches, "far1")) == Rate(1 / 2, 4)
    assert rate(missed_originals(searches, "far01")) == Rate(3 / 4, 4)


def test_a_family_with_two_recognisers_counts_once() -> None:
    """dlib loses both pairs; faceres loses its pair and faceres-deep keeps it: (1 + (1 + 0) / 2) / 2."""
    lost: dict[str, tuple[float, float | None]] = {"p1/2": (0.9, 0.1), "p1/3": (0.9, 0.2)}
    matched: dict[str, tuple[float, float | None]] = {"p1/2": (0.9, 0.9)}
    pairs = make_pair_frame(
        [
            others_row(setting("p1/1", "dlib"), (other_score("dlib-resnet", lost),)),
            others_row(
                setting("p1/1", "faceres"), (other_score("faceres", lost), other_score("faceres-deep", matched))
            ),
        ]
    )
    assert rate_over_families(lost_matches(pairs, "far1")) == Rate(0.75, 1)
    assert rate_over_families(lost_matches(pairs[:0], "far1")) is None


def test_the_report_has_a_section_on_other_photos(tmp_path: Path) -> None:
    score = other_score("faceres", {"p1/2": (0.9, 0.1)}, own=0.5, nearest=(0.3, 0.5))
    rows.append(tmp_path / rows.OTHERS_FILE, others_row(setting("p1/1", "faceres"), (score,)))
    pair = ProtectedPairsRow(setting("p1/1", "faceres"), (other_score("faceres", {"p1/2": (0.9, 0.9)}),), "f", "abc")
    rows.append(tmp_path / rows.PROTECTED_PAIRS_FILE, pair)
    text = write_report(RunFolders(tmp_path, tmp_path)).read_text()
    section = text.split("## Other photos of the person")[1].split("\n## ")[0]
    # Lost at both thresholds; found before and not now; no strangers; the same photo matches at FAR 1 % alone.
    rates = ["100 % (21–100)"] * 3 + ["0 % (0–79)", "–", "–", "0 % (0–79)", "100 % (21–100)"] + ["0 % (0–79)"] * 2
    assert f"| 0.7 | held-out | {' | '.join(rates)} |" in section
    assert "1 photos of 1 people" in section
    assert "| 1 | 1.14 / 1.70 |" in section


def test_figures_stand_beside_their_targets() -> None:
    held_out = other_score("faceres", {"p1/2": (0.9, 0.1)}, nearest=(0.3, 0.5))
    searched = other_score("dlib-resnet", {"p1/2": (0.9, 0.9)}, "white-box")
    lines = list_targets([others_row(setting("p1/1", "faceres"), (held_out, searched))])
    assert [(aim, str(measured)) for _, aim, measured in lines] == [
        ("≥ 80 % (goal 95 %)", "100 % (21–100)"),
        ("≥ 97 %", "0 % (0–79)"),
        ("≤ 40 %", "0 % (0–79)"),
    ]
    assert list_targets([]) == []


@pytest.mark.parametrize(
    "row",
    [
        others_row(setting("p1/1"), (other_score("faceres", {"p1/2": (0.9, None)}, nearest=(0.3, None)),)),
        ProtectedPairsRow(setting("p1/1"), (other_score("faceres", {"p1/2": (0.9, 0.1)}),), "f", "abc"),
    ],
)
def test_rows_are_read_as_written(tmp_path: Path, row: rows.AnyRow) -> None:
    rows.append(tmp_path / "rows.jsonl", row)
    assert rows.read(tmp_path / "rows.jsonl", type(row)) == [row]


@pytest.fixture
def two_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Photos whose embeddings depend only on their names."""
    write_photos(tmp_path / "photos", "ann1.png", "ann2.png", "bob1.png")
    monkeypatch.setattr(
        gallery, "embed", lambda photo, recognisers: dict.fromkeys(RECOGNISERS, make_vectors(len(photo.stem))[0])
    )
    return list_people(tmp_path / "photos")


def run_suite(folder: Path, people: dict[str, Path], code: str = "abc") -> tuple[other_photos.Outcome, list[Task]]:
    """A run with a fake measurement."""
    tasks: list[Task] = []

    def measure_task(task: Task) -> OthersRow:
        tasks.append(task)
        probe = dict.fromkeys(RECOGNISERS, make_vectors(0)[0])
        picture = task.pictures / task.setting.picture
        picture.parent.mkdir(parents=True, exist_ok=True)
        other_photos.save_probe(picture, probe, task.code)
        score = other_score("faceres", {"p1/2": (0.9, 0.1)})
        return others_row(task.setting, (score,), photos=task.photos, code=task.code)

    plan = Plan(people, 0.7, ("dlib", "faceres"), "natural makeup", "makeup")
    with ThreadPoolExecutor(1) as executor:
        outcome = other_photos.run(
            plan, RunFolders(folder, folder / "pictures"), code, executor, lambda _line: None, measure_task
        )
    return outcome, tasks


def test_every_photo_is_protected_once_a_family_and_never_twice(tmp_path: Path, two_people: dict[str, Path]) -> None:
    outcome, tasks = run_suite(tmp_path, two_people)
    assert (outcome.measured, outcome.done_before) == (6, 0)
    assert {(t.setting.face, t.setting.hold_out) for t in tasks} == {
        (f, h) for f in two_people for h in ("dlib", "faceres")
    }
    outcome, tasks = run_suite(tmp_path, two_people)
    assert (outcome.measured, outcome.done_before, tasks) == (0, 6, [])
    pairs = rows.read(tmp_path / rows.PROTECTED_PAIRS_FILE, rows.ProtectedPairsRow)
    assert sorted(row.setting.hold_out for row in pairs) == ["dlib", "faceres"]
    assert {name for row in pairs for s in row.scores for name in s.others} == {"p1/2"}


def test_changed_code_and_changed_photos_are_measured_again(tmp_path: Path, two_people: dict[str, Path]) -> None:
    run_suite(tmp_path, two_people)
    assert run_suite(tmp_path, two_people, code="new")[0].measured == 6
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(two_people["p1/1"])
    assert run_suite(tmp_path, two_people, code="new")[0].measured == 6


def test_no_persons_name_is_in_a_row_or_a_file_name(tmp_path: Path, two_people: dict[str, Path]) -> None:
    _, tasks = run_suite(tmp_path, two_people)
    text = (tmp_path / rows.OTHERS_FILE).read_text() + (tmp_path / rows.PROTECTED_PAIRS_FILE).read_text()
    text += " ".join(str(task.setting.picture) for task in tasks)
    assert "ann" not in text and "bob" not in text


def test_contact_sheets_show_pictures_of_other_photos(tmp_path: Path, two_people: dict[str, Path]) -> None:
    folders = RunFolders(tmp_path, tmp_path / "pictures")
    row = others_row(setting("p1/2"), (other_score("dlib-resnet", {"p1/1": (0.9, 0.1)}),), box=(1.0, 1.0, 6.0, 6.0))
    rows.append(folders.rows / rows.OTHERS_FILE, row)
    picture = folders.pictures / row.setting.picture
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), (10, 20, 30)).save(picture)
    (path,) = contact_sheets.draw_other_photos(
        folders, two_people, 0.7, "dlib", per_sheet=1, close=True, priors=("makeup",)
    )
    assert path.name == "p1-2.png"
    assert (
        contact_sheets.caption_other_photos(row) == "p1/2   makeup   expression 1.1   still matched: dlib-resnet* 0/1"
    )
    (path,) = contact_sheets.draw_other_photos(
        folders, two_people, 0.7, "dlib", per_sheet=4, close=False, priors=("makeup",)
    )
    assert Image.open(path).width >= 3 * 300


def test_every_family_of_the_manifest_can_be_held_out() -> None:
    families = list_families()
    assert len(families) == len(set(families)) >= 3
    assert {open_store().entry(name).family for name in RECOGNISERS} == set(families)


@pytest.mark.slow
def test_generated_people_are_identified_and_protected(tmp_path: Path) -> None:
    """Two made-up people with two photos each; one is protected with a search too short to matter."""
    folder = tmp_path / "photos"
    people = generate_two_people(folder)
    family = list_families()[0]
    plan = Plan(people, 0.5, (family,), "natural makeup", "makeup", steps=2, limit=2)
    folders = RunFolders(tmp_path, tmp_path / "pictures")
    with ThreadPoolExecutor(1) as executor:
        outcome = other_photos.run(plan, folders, "abc", executor, lambda _line: None)
    assert outcome == other_photos.Outcome(measured=2, done_before=0, failed=0)
    measured = rows.read(tmp_path / rows.OTHERS_FILE, rows.OthersRow)
    assert [row.setting.face for row in measured] == ["p1/1", "p1/2"]
    for row in measured:
        assert {s.recogniser for s in row.scores} == set(RECOGNISERS)
        assert all((s.role == "held-out") == (s.family == family) for s in row.scores)
        for s in row.scores:
            ((before, after),) = s.others.values()
            assert before > s.far1 and after is not None and s.own is not None and s.own < 1
        assert row.natural.expression is not None and row.natural.landmark_shift is not None
    searches = make_search_frame(measured)
    held_out = searches[searches["role"] == "held-out"]
    before = rate_over_families(rank1_hits(held_out, protected=False, strangers=False))
    assert before == Rate(1.0, 2)
    (pair,) = rows.read(tmp_path / rows.PROTECTED_PAIRS_FILE, rows.ProtectedPairsRow)
    assert set(pair.scores[0].others) == {"p1/2"}
    assert "## Other photos of the person" in write_report(folders).read_text()
    external_plan = replace(
        plan, protected_photos={photo.stem: photo for photo in folder.iterdir()}, method="elsewhere"
    )
    with ThreadPoolExecutor(1) as executor:
        other_photos.run(external_plan, folders, "abc", executor, lambda _line: None)
    unprotected = rows.read(tmp_path / rows.OTHERS_FILE, rows.OthersRow)[2:]
    assert [row.setting.method for row in unprotected] == ["elsewhere"] * 2
    for s in (s for row in unprotected for s in row.scores):
        ((before, after),) = s.others.values()
        assert s.role == "held-out" and after == pytest.approx(before, abs=1e-3)
