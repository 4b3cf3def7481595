"""A batch from its sources to results and journal, with an engine that takes no time: nothing lost, nothing twice."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from c2p_core.api import CancelToken
from c2p_core.batch import journal as journal_module
from c2p_core.batch import recorder, run
from c2p_core.batch.engine import Control, Job, Outcome, Reuse
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.layout import Item
from c2p_core.errors import BadRequest, CannotWrite, ModelUnavailable
from c2p_core.io import atomic_files
from c2p_core.io.atomic_files import find_parts
from tests.batch.darken import (
    JOB,
    SIDECAR,
    SIDEWAYS_SIDECAR,
    TURNED_REGION,
    darken,
    read_results,
    run_batch,
    save,
    save_sideways,
)
from tests.checkout import ROOT, environment


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Three photos that can be protected, one without a face and one that is damaged."""
    folder = tmp_path / "shoot"
    save(folder / "a.png", 200)
    save(folder / "day 1" / "b.png", 100)
    save(folder / "day 2" / "c.jpg", 150)
    save(folder / "landscape.png", 0)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def read_rows(out: Path) -> list[Row]:
    journal = Journal(out / ".c2p" / run.JOURNAL)
    try:
        return list(journal.read_rows())
    finally:
        journal.close()


def assert_consistent(out: Path) -> None:
    """Journal and folder say the same, and nothing is left over."""
    journal = Journal(out / ".c2p" / run.JOURNAL)
    done = [result for result in journal.read_known() if result.state == "done"]
    assert journal.read_announced() == []
    journal.close()
    files = read_results(out)
    digests = {result.target: result.result_digest for result in done}
    assert digests == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert list(out.rglob("*.part")) == []
    assert all(Image.open(out / name).load() is not None for name in files)


def test_every_photo_that_can_be_protected_is_and_the_others_are_reported(shoot: Path, out: Path) -> None:
    summary, plan = run_batch(shoot, out)
    assert (len(plan.pending), summary.protected, summary.without_face, len(summary.failed)) == (5, 3, 1, 1)
    assert sorted(read_results(out)) == ["a.png", "day 1/b.png", "day 2/c.jpg"]
    assert Image.open(out / "a.png").getpixel((0, 0)) == (100, 100, 100)
    assert summary.failed[0]["error"]["code"] == "image-damaged"
    assert_consistent(out)


def test_a_second_run_tries_what_failed_only(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    save(shoot / "damaged.jpg", 90)
    summary, plan = run_batch(shoot, out)
    assert [Path(item.path).name for item in plan.pending] == ["damaged.jpg"]
    assert (plan.done, plan.without_face, summary.protected, summary.failed) == (3, 1, 1, [])
    assert before.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}.items()
    assert {row.state for row in read_rows(out)} == {"done", "without-face"}


def test_a_photo_of_new_time_but_old_content_is_not_protected_again(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    os.utime(shoot / "a.png", ns=(1, 1))
    summary, plan = run_batch(shoot, out)
    assert len(plan.pending) == 2 and (summary.known, summary.protected) == (1, 0)
    assert sorted(read_results(out)) == ["a.png", "day 1/b.png", "day 2/c.jpg"]
    assert len(run_batch(shoot, out)[1].pending) == 1


def test_a_photo_of_new_content_gets_a_new_result_beside_the_old_one(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    old_result = (out / "a.png").read_bytes()
    save(shoot / "a.png", 60)
    run_batch(shoot, out)
    assert (out / "a.png").read_bytes() == old_result and Image.open(out / "a-2.png").getpixel((0, 0)) == (30, 30, 30)
    assert len(run_batch(shoot, out)[1].pending) == 1


def test_other_settings_mean_another_result(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    _, plan = run_batch(shoot, out, job=replace(JOB, options={**JOB.options, "prompt": "other"}))
    assert len(plan.pending) == 5 and (out / "a-2.png").exists()


def test_where_it_is_computed_is_not_a_setting(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    _, plan = run_batch(shoot, out, job=replace(JOB, options={**JOB.options, "device": "cpu"}))
    assert len(plan.pending) == 1


def test_a_photo_without_a_face_is_looked_at_again_by_another_version(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(shoot, out)
    monkeypatch.setattr(journal_module, "__version__", "99.0")
    _, plan = run_batch(shoot, out)
    assert sorted(Path(item.path).name for item in plan.pending) == ["damaged.jpg", "landscape.png"]


def test_overwriting_replaces_own_results_that_nobody_changed(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    edited = out / "day 1" / "b.png"
    save(edited, 7)
    for name in ("a.png", "day 1/b.png"):
        save(shoot / name, 60)
    run_batch(shoot, out, overwrite=True)
    assert Image.open(out / "a.png").getpixel((0, 0)) == (30, 30, 30) and not (out / "a-2.png").exists()
    assert Image.open(edited).getpixel((0, 0)) == (7, 7, 7)
    assert Image.open(out / "day 1" / "b-2.png").getpixel((0, 0)) == (30, 30, 30)


def test_a_file_of_somebody_else_is_never_overwritten(shoot: Path, out: Path) -> None:
    save(out / "a.png", 9)
    run_batch(shoot, out, overwrite=True)
    assert Image.open(out / "a.png").getpixel((0, 0)) == (9, 9, 9)
    assert Image.open(out / "a-2.png").getpixel((0, 0)) == (100, 100, 100)


def test_a_result_that_was_deleted_is_made_again(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    (out / "a.png").unlink()
    _, plan = run_batch(shoot, out)
    assert sorted(Path(item.path).name for item in plan.pending) == ["a.png", "damaged.jpg"]
    assert_consistent(out)


def test_a_result_that_was_edited_stays_and_counts_as_done(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    save(out / "a.png", 5)
    _, plan = run_batch(shoot, out)
    assert plan.changed == ["a.png"] and len(plan.pending) == 1
    assert Image.open(out / "a.png").getpixel((0, 0)) == (5, 5, 5)


def test_a_result_of_which_only_the_time_changed_does_not_count_as_edited(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    os.utime(out / "a.png", ns=(1, 1))
    assert run_batch(shoot, out)[1].changed == []


def test_an_earlier_result_that_is_replaced_before_it_serves_fails_that_photo_alone(shoot: Path, out: Path) -> None:
    def engine(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        first, *rest = items
        yield Outcome(first, "known", "ab", (3, 4), reuse=Reuse(99, b"of a row that is no more"))
        yield from darken(rest, job, control)

    summary, plan = run_batch(shoot, out, engine=engine)
    assert [failed["error"]["code"] for failed in summary.failed][:1] == ["earlier-result-replaced"]
    assert summary.protected == 2
    assert plan.pending[0] in run_batch(shoot, out)[1].pending
    assert_consistent(out)


def test_the_same_photo_under_another_name_is_copied_instead_of_searched(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    (shoot / "day 3").mkdir()
    (shoot / "day 3" / "again.png").write_bytes((shoot / "a.png").read_bytes())
    summary, _ = run_batch(shoot, out)
    assert (summary.protected, summary.copied, summary.faces) == (1, 1, 0)
    assert (out / "day 3" / "again.png").read_bytes() == (out / "a.png").read_bytes()
    assert_consistent(out)


def test_a_folder_that_moved_is_known_by_its_content(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    moved = shoot.rename(shoot.with_name("moved"))
    summary, plan = run_batch(moved, out)
    assert len(plan.pending) == 1 and summary.protected == 0


def test_more_sources_later_do_nothing_twice(shoot: Path, out: Path) -> None:
    run_batch(shoot / "day 1", out)
    _, plan = run_batch(shoot, out)
    assert str(shoot / "day 1" / "b.png") not in {item.path for item in plan.pending}


def test_a_second_batch_into_the_same_folder_is_refused(shoot: Path, out: Path) -> None:
    with run.open_folder(out), pytest.raises(BadRequest) as error:
        run_batch(shoot, out)
    assert error.value.code == "batch-running"
    run_batch(shoot, out)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(shoot: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, tmp_path / "file")
    assert error.value.code == "folder-unusable"


@pytest.mark.parametrize("name", ["", ".c2p", "report"])
def test_a_folder_that_is_read_only_is_refused_before_anything_is_read(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (out / name).mkdir(parents=True)
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != out / name)
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out, engine=lambda *_: pytest.fail("photos are read"))
    assert (error.value.code, error.value.fields["path"]) == ("folder-unusable", str(out / name))
    assert read_results(out) == {} and not (out / ".c2p" / run.JOURNAL).exists()


def fail_with(number: int, times: int) -> Callable[..., Path]:
    """A `write_part` that fails so often with an error of the system's."""
    failures = [times]
    write_part = recorder.write_part

    def fail(folder: Path, data: bytes) -> Path:
        if failures[0]:
            failures[0] -= 1
            raise OSError(number, os.strerror(number))
        return write_part(folder, data)

    return fail


def test_a_full_disk_ends_the_batch_and_the_next_run_goes_on(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "write_part", fail_with(errno.ENOSPC, 1))
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.fields["why"].code == "no-space"
    assert_consistent(out)
    assert run_batch(shoot, out)[0].protected == 3
    assert_consistent(out)


def fill_journal(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the journal find the disk full, once, in one of its methods."""
    pending = [1]
    original = getattr(Journal, method)

    def full(self: Journal, *arguments: object) -> object:
        if not pending:
            return original(self, *arguments)
        pending.clear()
        with self._transaction():
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Journal, method, full)


@pytest.mark.parametrize(("method", "results"), [("write", []), ("finish", ["a.png", "a.png.xmp"])])
def test_a_journal_that_cannot_be_written_ends_the_batch_and_the_next_run_makes_nothing_twice(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch, method: str, results: list[str]
) -> None:
    (shoot / "a.png.xmp").write_bytes(SIDECAR)
    fill_journal(method, monkeypatch)
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.code == "journal-unusable"
    assert sorted(read_results(out)) == results and list(out.rglob("*.part")) == [] == read_rows(out)
    summary, plan = run_batch(shoot, out)
    # The result that was in its place is known as done.
    assert (summary.protected, plan.done) == ((2, 1) if results else (3, 0))
    assert sorted(read_results(out)) == ["a.png", "a.png.xmp", "day 1/b.png", "day 2/c.jpg"]
    (out / "a.png.xmp").unlink()
    assert_consistent(out)


def test_a_folder_that_cannot_be_synced_ends_the_batch_and_the_result_that_is_there_counts(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(folder: Path) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(atomic_files, "sync_folder", fail_once)
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.code == "folder-unusable" and list(read_results(out)) == ["a.png"]
    summary, plan = run_batch(shoot, out)
    assert (summary.protected, plan.done) == (2, 1)
    assert sorted(read_results(out)) == ["a.png", "day 1/b.png", "day 2/c.jpg"]
    assert_consistent(out)


def test_one_place_that_cannot_be_written_fails_alone(shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "write_part", fail_with(errno.EACCES, 1))
    summary, _ = run_batch(shoot, out)
    assert sorted(entry["error"]["code"] for entry in summary.failed) == ["image-damaged", "not-written"]
    assert summary.protected == 2
    assert_consistent(out)


def test_a_damaged_journal_is_reported(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    for file in (out / ".c2p").glob("journal*"):
        file.unlink()
    (out / ".c2p" / run.JOURNAL).write_bytes(b"no database" * 1000)
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.code == "journal-unusable"


def test_a_photo_that_vanishes_fails_alone(shoot: Path, out: Path) -> None:
    def vanish(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        (shoot / "a.png").unlink()
        yield from darken(items, job, control)

    summary, _ = run_batch(shoot, out, engine=vanish)
    assert sorted(entry["error"]["code"] for entry in summary.failed) == ["image-damaged", "image-missing"]
    assert summary.protected == 2


def test_a_photo_that_is_rewritten_during_the_run_is_noted_as_it_was_read(shoot: Path, out: Path) -> None:
    """After planning, and once more while it is protected."""
    photo = shoot / "a.png"
    read: list[tuple[int, int, str]] = []

    def rewrite(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        save(photo, 60, (40, 30))
        read.append((photo.stat().st_size, photo.stat().st_mtime_ns, hashlib.sha256(photo.read_bytes()).hexdigest()))
        for outcome in darken(items, job, control):
            if outcome.item.path == str(photo):
                save(photo, 90, (50, 50))
            yield outcome

    run_batch(shoot, out, engine=rewrite)
    (row,) = (row for row in read_rows(out) if row.source == str(photo))
    assert [(row.size, row.mtime_ns, row.digest)] == read
    assert Image.open(out / "a.png").getpixel((0, 0)) == (30, 30, 30)
    # The next run sees that it is another photo by now.
    assert str(photo) in {item.path for item in run_batch(shoot, out)[1].pending}
    assert Image.open(out / "a-2.png").getpixel((0, 0)) == (45, 45, 45)
    assert_consistent(out)


def test_a_run_that_was_cancelled_keeps_what_is_done_and_the_next_does_the_rest(shoot: Path, out: Path) -> None:
    cancel = CancelToken()

    def stop_after_two(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        for count, outcome in enumerate(darken(items, job, control), 1):
            yield outcome
            if count == 2:
                cancel.cancel()

    first, _ = run_batch(shoot, out, engine=stop_after_two, cancel=cancel)
    assert_consistent(out)
    second, plan = run_batch(shoot, out)
    assert len(plan.pending) == 5 - first.finished
    assert first.protected + second.protected == 3


def test_a_missing_model_ends_the_batch(shoot: Path, out: Path) -> None:
    def lack(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        yield next(darken(items, job, control))
        raise ModelUnavailable("model-missing", name="mtcnn", source="x")

    with pytest.raises(ModelUnavailable):
        run_batch(shoot, out, engine=lack)
    assert_consistent(out)


def test_sidecars_come_beside_results_and_a_later_run_does_not_touch_them(shoot: Path, out: Path) -> None:
    photo, sidecar = shoot / "day 2" / "c.jpg", out / "day 2" / "c.jpg.xmp"
    photo.with_name("c.jpg.xmp").write_bytes(SIDECAR)
    run_batch(shoot, out)
    assert sidecar.read_bytes() == SIDECAR
    (row,) = (row for row in read_rows(out) if row.source == str(photo))
    assert row.report["sidecars"] == [str(sidecar)] and row.report["warnings"] == []
    sidecar.write_bytes(b"edited")
    run_batch(shoot, out)
    assert sidecar.read_bytes() == b"edited"


def test_regions_in_a_sidecar_are_turned_with_a_result_that_is_stored_upright(out: Path, tmp_path: Path) -> None:
    # The second one is copied from the result of the first.
    photos = [save_sideways(tmp_path / "shoot" / name) for name in ("a.png", "day 1/b.png", "c.jpg")]
    for photo in photos:
        photo.with_suffix(".xmp").write_bytes(SIDEWAYS_SIDECAR)
    summary, _ = run_batch(tmp_path / "shoot", out)
    assert (summary.protected, summary.copied) == (3, 1)
    turned = {name: TURNED_REGION in (out / f"{name}.xmp").read_bytes() for name in ("a", "day 1/b", "c")}
    # A JPEG stays as it is stored.
    assert turned == {"a": True, "day 1/b": True, "c": False}


def test_a_mark_is_a_setting(shoot: Path, out: Path) -> None:
    run_batch(shoot, out)
    assert run_batch(shoot, out, job=replace(JOB, mark=False))[0].protected == run_batch(shoot, out)[1].done


def test_a_name_that_is_no_text_and_a_very_long_one_are_kept(tmp_path: Path, out: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), f"{'x' * 251}.png", "a\nb.png", "'; DROP TABLE photos; --.png"]
    for value, name in enumerate(names, 50):
        save(tmp_path / "plain.png", value).rename(tmp_path / name)
    (tmp_path / "shoot").mkdir()
    for name in names:
        (tmp_path / name).rename(tmp_path / "shoot" / name)
    run_batch(tmp_path / "shoot", out)
    assert sorted(read_results(out)) == sorted(names)
    assert run_batch(tmp_path / "shoot", out)[1].pending == []


def test_a_folder_of_results_that_goes_away_ends_the_batch(shoot: Path, out: Path, tmp_path: Path) -> None:
    def unplug(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        for outcome in darken(items, job, control):
            yield outcome
            if outcome.state == "done":
                out.rename(tmp_path / "unplugged")

    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out, engine=unplug)
    assert error.value.code == "folder-unusable" and not out.exists()


def test_two_shoots_of_the_same_names_go_into_one_folder_side_by_side(shoot: Path, out: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other" / "a.png", 77).parent
    run_batch(shoot, out)
    run_batch(other, out)
    assert sorted(read_results(out)) == ["a-2.png", "a.png", "day 1/b.png", "day 2/c.jpg"]
    assert (len(run_batch(shoot, out)[1].pending), len(run_batch(other, out)[1].pending)) == (1, 0)
    assert_consistent(out)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_at_the_last_moment_stays(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    put = recorder.put_in_place

    def come_first(part: Path, target: Path, *, replace: bool) -> None:
        if target.name == "a.png":
            target.write_bytes(b"somebody's")
        put(part, target, replace=replace)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(recorder, "put_in_place", come_first)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    run_batch(shoot, out)
    assert (out / "a.png").read_bytes() == b"somebody's" and (out / "a-2.png").exists()


def kill_and_go_on(shoot: Path, out: Path, moment: int) -> bool:
    """Whether a batch was killed at that moment; it then agreed with itself and the next run finished it."""
    command = [sys.executable, "-m", "tests.batch.darken", str(shoot), str(out)]
    ended = subprocess.run([*command, str(moment)], cwd=ROOT, env=environment(), check=False)
    assert ended.returncode in (0, -9)
    complete = {hashlib.sha256(data).hexdigest() for data in read_results(out).values()}
    with run.open_folder(out):
        assert_consistent(out)
    run_batch(shoot, out)
    assert_consistent(out)
    assert sorted(read_results(out)) == ["a.png", "day 1/b.png", "day 2/c.jpg"]
    # What was there after the kill was whole and is still there: nothing was made twice.
    assert complete <= {hashlib.sha256(data).hexdigest() for data in read_results(out).values()}
    return ended.returncode == -9


def test_what_a_killed_run_left_beside_a_result_on_another_disk_is_removed(
    shoot: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def end(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(recorder.Recorder, "_choose_parts_folder", lambda _, folder: folder)
        patch.setattr(recorder, "put_in_place", end)
        patch.setattr(Path, "unlink", end)  # a process that is killed removes nothing
        with pytest.raises(Killed):
            run_batch([str(shoot / "day 1"), str(shoot / "landscape.png")], out)
    assert len(find_parts(out / "day 1")) == 1
    run_batch(shoot, out)
    assert find_parts(out / "day 1") == []
    assert_consistent(out)


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_that_is_killed_agrees_with_itself_and_the_next_run_finishes_it(
    shoot: Path, out: Path, seed: int
) -> None:
    assert kill_and_go_on(shoot, out, random.Random(seed).randint(1, 80))
