"""`c2p batch` with people: who is protected, and what a run that goes on knows of those before."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import pytest

from c2p_core.batch.engine import Job
from c2p_core.batch.journal import Journal
from c2p_core.batch.run import JOURNAL
from c2p_core.batch.sources import STATE_FOLDER
from c2p_core.commands import batch as command
from c2p_core.errors import Message
from c2p_core.people.listing import ListedFace, Listing, write_listing
from c2p_core.people.shoot import ShootLooks
from c2p_core.people.traces import ShootTraces
from tests.batch.conftest import Run
from tests.batch.darken import save
from tests.batch.one_person import protect_person


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Person 1 on two photos; the list of faces knows both."""
    folder = tmp_path / "shoot"
    for name in ("a.png", "b.png"):
        save(folder / name, 200 if name == "a.png" else 150)
    faces = tuple(ListedFace(f"../shoot/{name}.png", 1, (0, 0, 30, 20), 1) for name in "ab")
    (tmp_path / "people").mkdir()
    write_listing(tmp_path / "people" / "faces.json", Listing(tuple(face.photo for face in faces), faces))
    return folder


def test_a_continued_run_knows_the_earlier_results_of_the_people(
    shoot: Path, tmp_path: Path, run: Run, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, out = tmp_path / "people" / "looks.toml", tmp_path / "out"
    assert run(shoot, "-o", out, "--looks", looks)[0] == 0
    save(shoot / "c.png", 100)
    earlier_results: list[dict[str, Path]] = []
    make_traces = ShootLooks.make_traces
    monkeypatch.setattr(
        ShootLooks,
        "make_traces",
        lambda self, results: [earlier_results.append(results.files), make_traces(self, results)][1],
    )
    code, _, err = run(shoot, "-o", out, "--looks", looks)
    assert code == 0 and earlier_results[-1] == {str(shoot / f"{name}.png"): out / f"{name}.png" for name in "ab"}
    assert Message("photos-unlisted", count=1, path=str(shoot / "c.png")).text() in err
    assert all(isinstance(job.looks, ShootLooks) for job in jobs)


def test_results_of_moved_photos_are_known_to_the_people_too(
    shoot: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, out = tmp_path / "people" / "looks.toml", tmp_path / "out"
    assert run(shoot, "-o", out, "--looks", looks)[0] == 0
    for name in "ab":
        os.utime(shoot / f"{name}.png", (1, 1))
    save(shoot / "c.png", 100)
    added: dict[str, Path] = {}
    monkeypatch.setattr(
        ShootTraces, "add_earlier_result", lambda self, path, protected: added.update({path: protected})
    )
    summary = json.loads(run(shoot, "-o", out, "--looks", looks, "--json")[1])
    assert (summary["done_before"], summary["protected"]) == (2, 1)
    assert added == {str(shoot / f"{name}.png"): out / f"{name}.png" for name in "ab"}


def test_a_photo_is_led_away_from_what_the_run_has_written_of_its_people(
    shoot: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "pick_engine", lambda count: protect_person)
    out = tmp_path / "out"
    assert run(shoot, "-o", out, "--looks", tmp_path / "people" / "looks.toml")[0] == 0
    with closing(Journal(out / STATE_FOLDER / JOURNAL)) as journal:
        rows = {row.place: row.report["earlier"] for row in journal.read_rows()}
    assert rows == {"a.png": [], "b.png": [0]}


def test_changed_looks_of_the_people_on_a_photo_mean_another_result(shoot: Path, tmp_path: Path, run: Run) -> None:
    looks, out = tmp_path / "people" / "looks.toml", tmp_path / "out"
    run(shoot, "-o", out, "--looks", looks)
    plan = json.loads(run(shoot, "-o", out, "--looks", looks, "--dry-run", "--no-detect", "--json")[1])
    assert (plan["photos"], plan["done_before"]) == (0, 2)
    looks.write_text("[person.1]\nseed = 7")
    plan = json.loads(run(shoot, "-o", out, "--looks", looks, "--dry-run", "--no-detect", "--json")[1])
    assert (plan["photos"], plan["done_before"]) == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only-people", "1"], "--looks"),
        (["--looks", "people/looks.toml", "--skip-people", "anna"], Message("people-not-named", value="anna").text()),
        (["--looks", "people/looks.toml", "--only-people", "3"], Message("person-unknown", number=3, known=[1]).text()),
        (["--looks", "other/looks.toml"], Message("people-not-listed", path=str(Path("other/faces.json"))).text()),
    ],
)
def test_unknown_people_cannot_be_chosen(
    shoot: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(shoot, "-o", tmp_path / "out", *arguments)
    assert code == 2 and sentence in err and not (tmp_path / "out").exists()
