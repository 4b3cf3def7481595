"""What `--dry-run` expects: faces that will be protected, the time by what is known of their pace, and disk space."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from c2p_core import faces, pipeline
from c2p_core.api import CancelToken, Face
from c2p_core.batch import estimate, run
from c2p_core.batch.engine import Job
from c2p_core.batch.estimate import Estimate, describe_estimate, plan_and_estimate
from c2p_core.batch.journal import Journal, Pace, Row
from c2p_core.batch.layout import plan_items
from c2p_core.batch.sources import find_sources
from c2p_core.errors import Cancelled, CannotWrite, Message, ModelUnavailable, UnreadableImage
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore
from c2p_core.people.listing import ListedFace, Listing
from c2p_core.people.looks_file import NAME, parse_looks
from c2p_core.people.shoot import ShootLooks
from c2p_core.photo import Photo
from tests.batch.darken import JOB, run_batch, save

BOXES = {1: (0.0, 0.0, 10.0, 10.0), 2: (15.0, 0.0, 25.0, 10.0), 3: (20.0, 15.0, 30.0, 24.0)}
OPTIONS = {"faces": "all", "prompt": "test"}
MEASURE_FACE = estimate.measure_face


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Two photos, each of three faces of which the last one is too small, and one of nobody."""
    for name, value in (("a.png", 200), ("b.png", 150), ("landscape.png", 0)):
        save(tmp_path / "shoot" / name, value)
    return tmp_path / "shoot"


@pytest.fixture(autouse=True)
def fake_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes detected faces, and a time per face of one second per thread."""

    def find(photo: Photo, store: ModelStore) -> tuple[Face, ...]:
        mesh = np.zeros((468, 2), np.float32)
        small = Message("face-not-chosen")
        detected = [Face(number, box, 1.0, mesh, 60.0, small if number == 3 else None) for number, box in BOXES.items()]
        return tuple(detected) if photo.pixels.any() else ()

    monkeypatch.setattr(faces, "find_faces", find)
    monkeypatch.setattr(estimate, "measure_face", lambda *_: float(torch.get_num_threads()))


def estimate_batch(shoot: Path, out: Path, job: Job, detect: bool = True) -> Estimate:
    items = plan_items(find_sources([str(shoot)], out, bytes))
    return plan_and_estimate(items, out, job, ModelStore if detect else None, CancelToken())[1]


def make_looks(shoot: Path, text: str = "", **choice: tuple[int, ...]) -> ShootLooks:
    """Person 1 is on both photos, person 2 on the first one."""
    listed = [ListedFace("a.png", 1, BOXES[1], 1), ListedFace("a.png", 2, BOXES[2], 2)]
    listed += [ListedFace("b.png", 1, BOXES[1], 1)]
    listing = Listing(("a.png", "b.png", "landscape.png"), tuple(listed))
    return ShootLooks(parse_looks(text, NAME), listing, shoot, **choice)


def test_faces_that_are_too_small_are_not_counted(shoot: Path, tmp_path: Path) -> None:
    expected = estimate_batch(shoot, tmp_path / "out", Job(OPTIONS))
    assert (expected.faces, expected.without, expected.unreadable) == (4, 1, 0)
    assert estimate_batch(shoot, tmp_path / "out", Job({**OPTIONS, "faces": "largest"})).faces == 2


@pytest.mark.parametrize(
    ("text", "choice", "faces", "without"),
    [
        ("", {}, 4, 1),
        ("", {"only": (2,)}, 1, 2),
        ("", {"skip": (1,)}, 2, 1),
        ("[person.1]\nskip = true\n[others]\nskip = true", {}, 1, 2),
    ],
)
def test_skipped_people_are_not_counted(
    shoot: Path, tmp_path: Path, text: str, choice: dict[str, tuple[int, ...]], faces: int, without: int
) -> None:
    job = Job(OPTIONS, looks=make_looks(shoot, text, **choice))
    expected = estimate_batch(shoot, tmp_path / "out", job)
    assert (expected.faces, expected.without) == (faces, without)


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("decoder"), UnreadableImage("image-damaged", path="a.png")]
)
def test_a_photo_that_fails_alone_does_not_end_a_plan(
    shoot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    parse = photo_files.parse

    def fail_once(path: str, data: bytes) -> Photo:
        if path.endswith("a.png"):
            raise error
        return parse(path, data)

    monkeypatch.setattr(photo_files, "parse", fail_once)
    expected = estimate_batch(shoot, tmp_path / "out", Job(OPTIONS))
    assert (expected.faces, expected.without, expected.unreadable) == (2, 1, 1)


@pytest.mark.parametrize("error", [Cancelled("cancelled"), ModelUnavailable("model-missing"), KeyboardInterrupt()])
def test_an_error_that_concerns_all_photos_ends_a_plan(
    shoot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> tuple[Face, ...]:
        raise error

    monkeypatch.setattr(faces, "find_faces", fail)
    with pytest.raises(type(error)):
        estimate_batch(shoot, tmp_path / "out", Job(OPTIONS))


def test_a_face_that_needs_too_much_memory_leaves_the_time_unknown(
    shoot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "find_direction", fail)
    monkeypatch.setattr(estimate, "measure_face", MEASURE_FACE)
    expected = estimate_batch(shoot, tmp_path / "out", Job(OPTIONS))
    assert (expected.faces, expected.seconds) == (4, None)


def test_a_face_is_measured_with_the_share_of_the_cores_that_its_process_will_have(
    shoot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    two = estimate_batch(shoot, tmp_path / "out", Job(OPTIONS, processes=2))
    # 3 threads, 4 faces, 2 at a time.
    assert (two.seconds_a_face, two.seconds, two.pace) == (3.0, 6.0, "search")
    assert torch.get_num_threads() == before
    # No more at a time than there are photos.
    assert estimate_batch(shoot / "a.png", tmp_path / "out", Job(OPTIONS, processes=6)).seconds == 2.0


def test_the_estimate_for_a_cluster_is_that_of_this_machine(shoot: Path, tmp_path: Path) -> None:
    expected = estimate_batch(shoot, tmp_path / "out", Job(OPTIONS, processes=0))
    assert expected.seconds == 4.0 * torch.get_num_threads()
    assert "Time expected on this machine: " in " ".join(describe_estimate(expected, 3))


def test_earlier_results_give_the_pace_only_for_the_same_number_of_processes(shoot: Path, tmp_path: Path) -> None:
    run_batch(shoot / "a.png", tmp_path / "out")
    alone = estimate_batch(shoot, tmp_path / "out", JOB)
    assert (alone.seconds_a_face, alone.seconds, alone.pace) == (0.5, 1.0, "results")
    assert any("0 s a face, as earlier results took" in line for line in describe_estimate(alone, 2))
    parallel = estimate_batch(shoot, tmp_path / "out", replace(JOB, processes=2), detect=False)
    assert (parallel.seconds_a_face, parallel.seconds, parallel.pace) == (None, None, None)


def test_the_report_needs_space_besides_the_results(shoot: Path, tmp_path: Path) -> None:
    photos = sum(path.stat().st_size for path in shoot.iterdir())
    assert estimate_batch(shoot, tmp_path / "out", JOB, detect=False).disk == photos + 3 * 93_000
    assert (
        estimate_batch(shoot, tmp_path / "out", replace(JOB, thumbnails=False), detect=False).disk == photos + 3 * 3_000
    )


def make_row(place: str, **values: object) -> Row:
    return Row(place, "ab", place, place, 1, 1, "done", {"processes": 1}, place, "cd", 1, 1, **values)  # type: ignore[arg-type]


def test_results_of_other_versions_and_copies_give_no_pace(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(make_row("a", faces=2, seconds=20.0))
    journal.write(make_row("b", faces=1, seconds=99.0, program="0.1.0"))
    journal.write(make_row("c", faces=2))
    assert journal.read_pace("ab", 1) == Pace(20.0, 2, 1)
    journal.close()


# Folders that may only be read


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder, this process included, and root, who else may write anywhere."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_journal_in_a_folder_that_may_only_be_read_is_read(shared: Path) -> None:
    with closing(Journal(shared / "journal?#.sqlite")) as journal:
        journal.write(make_row("a", faces=2, seconds=20.0))
    before = sorted(shared.iterdir())
    with read_only(shared):
        with pytest.raises(CannotWrite) as error:
            Journal(shared / "journal?#.sqlite")
        with closing(Journal(shared / "journal?#.sqlite", read_only=True)) as journal:
            assert journal.read_pace("ab", 1) == Pace(20.0, 2, 1)
            with pytest.raises(CannotWrite):
                journal.forget(1)
    assert error.value.code == "journal-unusable" and sorted(shared.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_rows_that_are_only_in_the_journals_write_ahead_log_are_read(shared: Path, tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal")) as journal:
        journal.write(make_row("a", faces=2, seconds=20.0))
        for file in tmp_path.glob("journal*"):
            shutil.copy(file, shared)
    with read_only(shared), closing(Journal(shared / "journal", read_only=True)) as journal:
        assert journal.read_pace("ab", 1).photos == 1
    shared.chmod(0o755)
    (shared / "journal-shm").unlink()
    with read_only(shared), pytest.raises(CannotWrite) as error:
        Journal(shared / "journal", read_only=True)
    assert error.value.code == "journal-unusable"


def test_an_empty_journal_has_no_rows_and_stays_unchanged(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with closing(Journal(tmp_path / "journal", read_only=True)) as journal:
        assert list(journal.read_known()) == []
    assert (tmp_path / "journal").stat().st_size == 0


def test_a_plan_with_a_journal_changes_no_file(shoot: Path, tmp_path: Path) -> None:
    run_batch(shoot, tmp_path / "out")
    with run.open_folder(tmp_path / "out"):  # as if another batch were running
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
        estimate_batch(shoot, tmp_path / "out", JOB, detect=False)
        assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
