"""Batches into and out of stores of objects: nothing lost, nothing twice, and no two batches at once."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from c2p_core import cli
from c2p_core.api import CancelToken
from c2p_core.batch import object_sources, run, sources, store_folder, store_lock, urls
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.layout import Item, plan_items
from c2p_core.batch.objects import Store, open_store
from c2p_core.batch.planning import Plan
from c2p_core.batch.row_lines import format_row, parse_row
from c2p_core.batch.shared_journal import ROWS
from c2p_core.batch.sidecar_sources import beside_sidecars
from c2p_core.batch.sources import find_sources
from c2p_core.batch.store_folder import open_store_folder, peek_store_folder
from c2p_core.batch.store_lock import LOCK, hold_store
from c2p_core.errors import BadRequest, CannotWrite, Message
from tests.batch.conftest import Run
from tests.batch.darken import JOB, SIDEWAYS_SIDECAR, SIMILARITY, TURNED_REGION, darken, save, save_sideways
from tests.batch.stores import make_memory_url, put, read_objects, read_results_of_store, serve_s3


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data of this machine."""
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that only tests may use: what it holds ends with the process."""
    monkeypatch.setattr(urls, "WHOLE_STORES", urls.WHOLE_STORES | {"memory"})


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    folder = tmp_path / "shoot"
    save(folder / "a.png", 200)
    save(folder / "day 1" / "b.png", 100)
    save(folder / "landscape.png", 0)
    return folder


@pytest.fixture
def out() -> str:
    return make_memory_url()


def run_batch(
    source: Path | str, url: str, *, job: Job = JOB, engine: Any = darken, overwrite: bool = False
) -> tuple[run.Summary, Plan]:
    """A whole batch, as the command runs it."""
    items = plan_items(find_sources([str(source)], url, bytes))
    with open_store_folder(url) as folder:
        existing = run.read_results(folder, run.make_settings_digester(job))
        plan, summary = existing.plan(items), run.Summary()
        control = Control(lambda: None, CancelToken())  # type: ignore[arg-type, return-value]
        run.run(folder, plan.pending, job, engine, control, existing, summary=summary, overwrite=overwrite)
        return summary, plan


def test_results_are_objects_and_a_second_run_does_nothing(shoot: Path, out: str) -> None:
    summary, _ = run_batch(shoot, out)
    assert (summary.protected, summary.without_face) == (2, 1)
    before = read_results_of_store(out)
    assert sorted(before) == ["a.png", "day 1/b.png"]
    assert run_batch(shoot, out)[1].pending == [] and read_results_of_store(out) == before


def test_another_machine_continues_the_batch_of_the_first(
    shoot: Path, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(shoot, out)
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "other"))
    save(shoot / "new.png", 90)
    assert [Path(item.path).name for item in run_batch(shoot, out)[1].pending] == ["new.png"]
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "home"))
    assert run_batch(shoot, out)[1].pending == []
    assert sorted(read_results_of_store(out)) == ["a.png", "day 1/b.png", "new.png"]


def test_a_result_whose_row_is_lost_with_its_machine_is_not_kept_twice(
    shoot: Path, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(shoot, out)
    store = open_store(out)
    for name in store.list_all(ROWS):
        store.remove(name)
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "other"))
    run_batch(shoot, out)
    assert sorted(read_results_of_store(out)) == ["a.png", "day 1/b.png"]
    assert run_batch(shoot, out)[1].pending == []


def test_a_photo_recognised_by_its_content_is_recognised_on_other_machines_too(
    shoot: Path, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_batch(shoot, out)
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "other"))
    run_batch(shoot, out)
    os.utime(shoot / "a.png", (1, 1))
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "home"))
    assert run_batch(shoot, out)[0].known == 1
    monkeypatch.setenv("C2P_HOME", str(tmp_path / "other"))
    assert run_batch(shoot, out)[1].pending == []


def test_local_changes_that_were_not_pushed_yet_win_over_rows_from_the_store(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Its rows are there, but it ended before it noted so.
        patch.setattr(store_folder.SharedJournal, "mark_shared", lambda self, name, numbers: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_batch(shoot, out)
    os.utime(shoot / "a.png", (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(store_folder.SharedJournal, "pull", lambda self, store: 0)
        patch.setattr(store_folder.SharedJournal, "push", lambda self, store: 0)
        assert run_batch(shoot, out)[0].known == 1
    assert run_batch(shoot, out)[1].pending == []


class Killed(BaseException):
    """Ends a run as a kill does, without a word."""


@pytest.mark.parametrize("after", [False, True])
def test_a_run_killed_while_it_writes_is_recovered(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    put_new, killed = Store.put_new, []

    def die(self: Store, name: str, data: bytes) -> None:
        if name.endswith("b.png") and not killed:
            killed.append(name)
            if after:
                put_new(self, name, data)
            raise Killed
        put_new(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_new", die)
        # Nothing of what a run does at its end.
        patch.setattr(store_folder.SharedJournal, "push", lambda self, store: 0)
        patch.setattr(store_lock.StoreLock, "release", lambda self: self._released.set())
        with pytest.raises(Killed):
            run_batch(shoot, out)
    summary, plan = run_batch(shoot, out)
    assert sorted(read_results_of_store(out)) == ["a.png", "day 1/b.png"]
    assert summary.protected == len(plan.pending) == (0 if after else 1)


def test_other_settings_and_foreign_objects_get_numbers_and_overwriting_keeps_foreign_objects(
    shoot: Path, out: str
) -> None:
    put(out, "a.png", b"somebody's")
    run_batch(shoot, out)
    other = replace(JOB, options={**JOB.options, "prompt": "other"})
    run_batch(shoot, out, job=other)
    assert sorted(read_results_of_store(out)) == ["a-2.png", "a-3.png", "a.png", "day 1/b-2.png", "day 1/b.png"]
    save(shoot / "day 1" / "b.png", 60)
    run_batch(shoot, out, overwrite=True)
    assert read_results_of_store(out)["a.png"] == b"somebody's" and "day 1/b-3.png" not in read_results_of_store(out)


def test_an_edited_result_stays_and_a_deleted_one_is_made_again(shoot: Path, out: str) -> None:
    run_batch(shoot, out)
    put(out, "a.png", b"edited")
    open_store(out).remove("day 1/b.png")
    _, plan = run_batch(shoot, out)
    assert plan.changed == ["a.png"] and [Path(item.path).name for item in plan.pending] == ["b.png"]
    assert read_results_of_store(out)["a.png"] == b"edited" and "day 1/b.png" in read_results_of_store(out)


def test_foreign_objects_are_not_fetched_to_find_a_free_name(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(out, "a.png", b"somebody's")
    fetched: list[str] = []
    fetch = Store.fetch
    monkeypatch.setattr(Store, "fetch", lambda self, name: fetched.append(name) or fetch(self, name))
    run_batch(shoot, out)
    assert "a-2.png" in read_results_of_store(out) and "a.png" not in fetched


def test_a_request_repeated_by_the_driver_shares_the_rows_once(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new = Store.put_new

    def send_twice(self: Store, name: str, data: bytes) -> None:
        put_new(self, name, data)
        if name.startswith(ROWS):
            put_new(self, name, data)

    monkeypatch.setattr(Store, "put_new", send_twice)
    run_batch(shoot, out)
    assert len(open_store(out).list_all(ROWS)) == 1 and run_batch(shoot, out)[1].pending == []


def test_an_object_that_appears_at_the_last_moment_stays(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_new = Store.put_new

    def write_before(self: Store, name: str, data: bytes) -> None:
        if name == "a.png":
            put(out, name, b"somebody's")
        put_new(self, name, data)

    monkeypatch.setattr(Store, "put_new", write_before)
    run_batch(shoot, out)
    assert (
        sorted(read_results_of_store(out)) == ["a-2.png", "a.png", "day 1/b.png"]
        and read_results_of_store(out)["a.png"] == b"somebody's"
    )


def test_a_failing_store_ends_the_batch_and_the_next_run_continues(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = open_store(out).system
    with monkeypatch.context() as patch:

        def refuse(path: str, data: bytes, mode: str = "overwrite") -> None:
            if path.endswith(".png"):
                raise OSError("no route to host")
            type(system).pipe_file(system, path, data, mode=mode)

        patch.setattr(system, "pipe_file", refuse)
        with pytest.raises(CannotWrite) as error:
            run_batch(shoot, out)
        assert (error.value.code, error.value.fields["reason"]) == ("store-unusable", "no route to host")
    run_batch(shoot, out)
    assert sorted(read_results_of_store(out)) == ["a.png", "day 1/b.png"]


@pytest.mark.parametrize(("method", "expected"), [("write", []), ("finish", ["a.png", "a.png.xmp"])])
def test_a_journal_that_cannot_be_written_ends_the_batch_and_the_next_run_makes_nothing_twice(
    shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch, method: str, expected: list[str]
) -> None:
    (shoot / "a.png.xmp").write_bytes(b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')

    def refuse(self: Journal, *_words: object) -> None:
        raise CannotWrite("journal-unusable", path="journal.sqlite", reason="database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, method, refuse)
        with pytest.raises(CannotWrite) as error:
            run_batch(shoot, out)
    assert error.value.code == "journal-unusable" and sorted(read_results_of_store(out)) == expected
    summary, plan = run_batch(shoot, out)
    assert (summary.protected, plan.done) == ((1, 1) if expected else (2, 0))
    assert sorted(read_results_of_store(out)) == ["a.png", "a.png.xmp", "day 1/b.png"]


def test_a_full_local_disk_is_reported(shoot: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.fields["why"] == Message("no-space")
    assert read_results_of_store(out) == {}


def test_an_undecodable_name_has_a_journal_of_its_own() -> None:
    assert store_folder.locate_state_folder("s3://photos/caf\udce9") != store_folder.locate_state_folder(
        "s3://photos/caf"
    )


@pytest.mark.parametrize("names", [("s3", "s3a"), ("gs", "gcs"), ("abfs", "abfss", "az")])
def test_all_names_of_one_store_have_one_journal(names: tuple[str, ...]) -> None:
    assert len({store_folder.locate_state_folder(f"{name}://photos/out") for name in names}) == 1


def test_a_second_batch_on_this_machine_is_refused(shoot: Path, out: str) -> None:
    with open_store_folder(out), pytest.raises(BadRequest) as error:
        run_batch(shoot, out)
    assert error.value.code == "batch-running"


def test_a_second_batch_on_another_machine_is_refused_while_the_first_is_alive(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lock, "HEARTBEAT_SECONDS", 0.1)
    with hold_store(open_store(out), "one"), pytest.raises(BadRequest) as error, hold_store(open_store(out), "two"):
        pass
    assert error.value.code == "batch-elsewhere"
    assert LOCK not in read_objects(out)


def test_a_stale_lock_is_taken_over_and_its_owner_notices(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock, "HEARTBEAT_SECONDS", 1.0)
    lock = store_lock.StoreLock(open_store(out), "one")
    lock.acquire()
    with hold_store_soon(out, monkeypatch):
        with pytest.raises(CannotWrite) as error:
            for _ in range(50):
                lock.check()
                time.sleep(0.1)
        assert error.value.code == "store-lock-lost"
        lock.release()
        assert LOCK in read_objects(out)
    assert LOCK not in read_objects(out)


def test_the_report_of_the_machine_that_took_over_stays(shoot: Path, out: str) -> None:
    with pytest.raises(CannotWrite) as error, open_store_folder(out) as folder:
        (folder.path / "report.html").write_bytes(b"old")
        put(out, LOCK, b'{"token": "another"}')
        put(out, "report.html", b"new")
        with pytest.raises(CannotWrite):
            folder.publish()
    assert error.value.code == "store-lock-lost"
    assert read_results_of_store(out)["report.html"] == b"new" and read_objects(out)[LOCK] == b'{"token": "another"}'


def test_nothing_is_replaced_once_another_machine_has_taken_over(shoot: Path, out: str) -> None:
    run_batch(shoot, out)
    before = read_results_of_store(out)
    save(shoot / "a.png", 60)
    (shoot / "a.png.xmp").write_text('<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>')

    def slow(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        for outcome in darken(items, job, control):
            put(out, LOCK, b'{"token": "another"}')
            yield outcome

    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out, engine=slow, overwrite=True)
    assert error.value.code == "store-lock-lost" and read_results_of_store(out) == before
    with peek_store_folder(out) as (journal, _):
        assert "failed" not in [row.state for row in journal.read_rows()]


def hold_store_soon(out: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(store_lock.StoreLock.acquire, "__defaults__", (0.2,))
    return hold_store(open_store(out), "two")


def test_photos_from_a_store_keep_their_folders(out: str, tmp_path: Path) -> None:
    source = make_memory_url()
    data = save(tmp_path / "x.png", 80).read_bytes()
    for name in (
        "a.png",
        "day 1/b.png",
        "day 1/.hidden.png",
        "notes.txt",
        "c.nef",
        "out/.c2p/rows/1.jsonl",
        "out/a.png",
    ):
        put(source, name, data + name.encode())
    selection = find_sources([source], out, bytes)
    assert [item.place for item in plan_items(selection)] == ["a.png", str(Path("day 1", "b.png"))]
    assert selection.raw == 1 and selection.results == [f"{source}/out"] and selection.left_out[".txt"] == 1
    assert [source.size for source in selection.files] == [len(data) + 5, len(data) + 11]
    assert len(find_sources([f"{source}/day 1/*.png"], out, bytes).files) == 2
    with pytest.raises(BadRequest) as error:
        find_sources([source], source, bytes)
    assert error.value.code == "batch-into-sources"


def test_a_batch_from_store_to_store_recognises_its_photos(out: str, tmp_path: Path) -> None:
    source = make_memory_url()
    put(source, "a.png", save(tmp_path / "x.png", 80).read_bytes())
    put(source, "b.png", b"no picture")
    summary, _ = run_batch(source, out)
    assert summary.protected == 1 and summary.failed[0]["error"]["code"] == "image-format-unknown"
    assert [item.path for item in run_batch(source, out)[1].pending] == [f"{source}/b.png"]
    assert list(read_results_of_store(out)) == ["a.png"]


def test_regions_in_a_sidecar_are_rotated_in_a_store_too(out: str, tmp_path: Path) -> None:
    source = make_memory_url()
    put(source, "photo.png", save_sideways(tmp_path / "x.png").read_bytes())
    put(source, "photo.xmp", SIDEWAYS_SIDECAR)
    run_batch(source, out)
    assert TURNED_REGION in read_results_of_store(out)["photo.xmp"]


@pytest.mark.parametrize(("photo", "sidecar"), [("photo.png", "photo.png.xmp"), ("photo.png", "photo.xmp")])
def test_sidecars_are_read_from_a_store_and_written_into_one(
    out: str, tmp_path: Path, photo: str, sidecar: str
) -> None:
    source, text = make_memory_url(), b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    put(source, photo, save(tmp_path / "x.png", 80).read_bytes())
    put(source, sidecar, text)
    run_batch(source, out)
    assert read_results_of_store(out)[sidecar] == text


@pytest.mark.parametrize("size", [(64 << 20) + 1, None])
def test_an_invalid_sidecar_is_left_out_with_a_warning(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    source, fetch, stat = make_memory_url(), Store.fetch, Store.stat
    put(source, "photo.png", save(tmp_path / "x.png", 80).read_bytes())
    put(source, "photo.png.xmp", b"-")

    def look(self: Store, name: str) -> tuple[int, int] | None:
        return (size, 1) if size and name.endswith(".xmp") else stat(self, name)

    def refuse(self: Store, name: str) -> bytes | None:
        if name.endswith(".xmp"):
            raise CannotWrite("store-unusable", url=name, reason="access denied")
        return fetch(self, name)

    monkeypatch.setattr(Store, "stat", look)
    monkeypatch.setattr(Store, "fetch", refuse)
    assert run_batch(source, out)[0].protected == 1 and list(read_results_of_store(out)) == ["photo.png"]
    with open_store_folder(out) as folder:
        (row,) = folder.journal.read_rows()
    ((part,),) = [warning["fields"]["parts"] for warning in row.report["warnings"]]
    assert (part["code"], part["fields"]["name"]) == ("part-sidecar", "photo.png.xmp")


def test_a_sidecar_is_found_by_a_name_that_is_invalid_for_files(out: str, tmp_path: Path) -> None:
    source, text = make_memory_url(), b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    name = f"day\\..\\..\\{'a' * 240}.png"
    put(source, name, save(tmp_path / "x.png", 80).read_bytes())
    put(source, f"{name}.xmp", text)
    run_batch(source, out)
    (sidecar,) = (name for name in read_results_of_store(out) if name.endswith(".xmp"))
    assert read_results_of_store(out)[sidecar] == text and sidecar.startswith("day/aaa")


def test_copies_of_sidecars_have_names_that_every_system_accepts() -> None:
    source, name = make_memory_url(), 'a\\b:c?d*e"f<g>h|i.p?g'
    open_store(source).put(f"{name}.xmp", b"<x/>")
    with beside_sidecars(f"{source}/{name}") as photo:
        assert photo.name == "a_b_c_d_e_f_g_h_i.p_g"
        assert [(copy.name, copy.read_bytes()) for copy in photo.parent.iterdir()] == [(f"{photo.name}.xmp", b"<x/>")]


@pytest.mark.parametrize(
    "url", ["sftp://host/photos", "memory://", "s3://", "s3:///photos", "s3://[bad/a.png", "s3://photos*/a.png"]
)
def test_a_url_of_an_unusable_store_is_refused(url: str) -> None:
    for name in (url, "-"):
        with pytest.raises(BadRequest) as error:
            find_sources([name], Path("out"), url.encode)
        assert error.value.code == "store-unknown"


def test_two_spellings_of_one_store_are_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = {"a.png": (3, 4), "out/a.png": (3, 4)}
    monkeypatch.setattr(sources, "list_url", lambda url: stamps)
    with pytest.raises(BadRequest) as error:
        find_sources(["s3://photos/in"], "s3a://photos/in", bytes)
    assert error.value.code == "batch-into-sources"
    selection = find_sources(["gs://photos/in"], "gcs://photos/in/out", bytes)
    assert [source.path for source in selection.files] == ["gs://photos/in/a.png"]


def test_memory_urls_are_stores_only_in_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(BadRequest) as error:
        urls.parse_location(make_memory_url())
    assert error.value.code == "store-unknown"


def test_a_pattern_keeps_the_account_that_its_url_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Azure:
        def info(self, path: str) -> None:
            raise FileNotFoundError(path)

        def find(self, path: str, detail: bool) -> dict[str, Any]:
            raise FileNotFoundError(path)

        def glob(self, pattern: str) -> list[str]:
            return [pattern.replace("*", name) for name in "ba"]

    def open_one(url: str) -> Store:
        return Store(url, Azure(), "shoot" + url.partition("net")[2])

    monkeypatch.setattr(object_sources, "open_store", open_one)
    account = "abfs://shoot@agency.dfs.core.windows.net/day 1"
    assert object_sources.expand_url(f"{account}/*.jpg") == [f"{account}/a.jpg", f"{account}/b.jpg"]


def test_the_name_of_an_object_is_that_of_a_file_below_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "s3://photos/day 1\\..//../C:\\a.png"
    assert urls.make_relative_name(key, "s3://photos") == "day 1/C:/a.png"
    monkeypatch.setattr(os, "sep", "\\")
    assert urls.make_relative_name(key, "s3://photos") == "day 1/C_/a.png"


FACE = {"sentence": "Face 1: it is darker.", "similarities": [SIMILARITY]}
REPORT = {"protected": "s3://out/a.png", "faces": [FACE], "warnings": []}
ROW = Row("a.png", "aa", "bb", "/photos/a.png", 3, 4, "done", REPORT, "a.png", "cc", 5, 6, "dd", 1, 2.0)


def test_a_row_is_restored_from_its_line() -> None:
    row = replace(ROW, source=os.fsdecode(b"/caf\xe9.png"))
    assert parse_row(format_row(row)) == row


def test_a_row_from_windows_reads_the_same_on_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    posix_row = replace(ROW, place="day 1/a.png", target="day 1/a-2.png")
    monkeypatch.setattr(os, "sep", "\\")
    windows_row = replace(ROW, place="day 1\\a.png", target="day 1\\a-2.png")
    line = format_row(windows_row)
    assert parse_row(line) == windows_row
    with pytest.raises(ValueError):
        parse_row(format_row(replace(ROW, place="day 1\\..\\..\\a.png")))
    monkeypatch.undo()
    assert (format_row(posix_row), parse_row(line)) == (line, posix_row)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "../outside.png"},
        {"target": "/etc/passwd"},
        {"target": None},
        {"thumbnails": "../../x"},
        {"digest": "no hex"},
        {"state": "announced"},
        {"size": "3"},
        {"faces": True},
        {"report": {}},
        {"report": {**REPORT, "faces": [{**FACE, "similarities": [{**SIMILARITY, "after": "high"}]}]}},
        {"report": {**REPORT, "faces": ["1"]}},
        {"report": {**REPORT, "warnings": None}},
        {"state": "failed", "target": None, "report": {"error": "none"}},
        {"more": 1},
        {"mtime_ns": 2**63},
        {"finished": float("inf")},
        {"seconds": float("nan")},
        {"result_size": None},
        {"place": "\ud800.png"},
        {"place": "\udc7f.png"},
        {"target": "\udd00.png"},
        {"source": "/photos/a.png\0"},
        {"program": "\udce9"},
        {"report": {**REPORT, "padding": "x" * (16 << 20)}},
    ],
)
def test_an_invalid_line_is_refused(wrong: dict[str, Any]) -> None:
    line = json.dumps({**json.loads(format_row(ROW)), **wrong}).encode()
    with pytest.raises(ValueError):
        parse_row(line)


def test_damaged_rows_in_a_store_are_reported(shoot: Path, out: str) -> None:
    put(out, f"{ROWS}/1.jsonl", b"{")
    with pytest.raises(CannotWrite) as error:
        run_batch(shoot, out)
    assert error.value.code == "journal-unusable"


def test_the_command_writes_results_and_report_into_a_store(shoot: Path, out: str, run: Run) -> None:
    code, output, _ = run(shoot, "-o", out, "--json")
    assert code == 0 and json.loads(output)["report"] == f"{out}/report.html"
    stored = read_objects(out)
    pictures = [name for name in stored if name.startswith("report/") and name.endswith(".jpg")]
    assert len(pictures) == 4 and all(name in stored["report.html"].decode() for name in pictures)
    assert stored["report.csv"].count(b"\n") == 4 and LOCK not in stored
    code, output, _ = run(shoot, "-o", out, "--dry-run", "--no-detect", "--json")
    assert (json.loads(output)["done_before"], json.loads(output)["photos"], json.loads(output)["free"]) == (2, 0, None)


def test_a_file_url_is_a_folder(shoot: Path, tmp_path: Path, run: Run) -> None:
    assert run(shoot, "-o", (tmp_path / "with space").as_uri())[0] == 0
    assert Image.open(tmp_path / "with space" / "a.png").getpixel((0, 0)) == (100, 100, 100)


def test_a_file_url_works_like_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "100 %20 #1"
    paths = [str(save(folder / name)) for name in ("a.png", "b.png")]
    for arguments, listed in (([folder.as_uri()], ""), (["-"], "\n".join(Path(path).as_uri() for path in paths))):
        assert [source.path for source in find_sources(arguments, Path("out"), listed.encode).files] == paths
    host = folder.as_uri().replace("file:///", "FILE://localhost/")
    assert urls.parse_location(host) == folder


@pytest.mark.parametrize("name", ["a?b#c", "a%3Fb%23c", "a?b#c?"])
def test_a_question_mark_belongs_to_the_url_of_a_file(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # As on Python from 3.14 on, without the rules of Windows.
    monkeypatch.setattr(urllib.request, "url2pathname", lambda url: unquote(urlsplit(f"file:{url}").path))
    assert urls.parse_location(f"file:///photos/{name}") == Path("/photos", unquote(name))


@pytest.mark.parametrize("error", [URLError("not on local host"), OSError("Bad URL"), ValueError("Invalid IPv6 URL")])
def test_a_file_url_that_python_rejects_is_refused(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(url: str) -> str:
        raise error

    monkeypatch.setattr(urllib.request, "url2pathname", refuse)
    with pytest.raises(BadRequest) as refused:
        urls.parse_location("file:////server/share/a.png")
    assert refused.value.code == "file-url-unusable"


@pytest.mark.parametrize("url", ["file://", "file://server/share/a.png", "file:///a%00.png", "file://[bad/a.png"])
def test_a_file_url_that_names_no_file_of_this_machine_is_refused(url: str) -> None:
    for name in (url, "-"):
        with pytest.raises(BadRequest) as error:
            find_sources([name], Path("out"), url.encode)
        assert error.value.code == "file-url-unusable"


def test_commands_that_need_a_folder_say_so(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(tmp_path), "-o", out]) == 2
    put(out, "a.png", b"x")
    assert cli.main(["people", out, "-o", str(tmp_path / "people")]) == 2
    assert capsys.readouterr().err.count(out) == 2


@pytest.mark.slow
def test_a_batch_from_s3_into_s3_does_nothing_twice(shoot: Path, run: Run, jobs: list[Job]) -> None:
    with serve_s3() as bucket:
        for path in sorted(shoot.rglob("*.png")):
            put(f"{bucket}/shoot", path.relative_to(shoot).as_posix(), path.read_bytes())
        code, output, _ = run(f"{bucket}/shoot", "-o", f"{bucket}/out", "--json")
        assert code == 0 and json.loads(output)["protected"] == 2
        before = read_objects(f"{bucket}/out")
        assert {"a.png", "day 1/b.png", "report.html"} < set(before) and LOCK not in before
        code, output, _ = run(f"{bucket}/shoot", "-o", f"{bucket}/out", "--json")
        assert (json.loads(output)["done_before"], len(jobs)) == (2, 1)
        assert read_objects(f"{bucket}/out").items() >= {
            (name, before[name]) for name in before if name.endswith("png")
        }
        put(f"{bucket}/shoot", "new.png", (shoot / "a.png").read_bytes())
        code, output, _ = run(f"{bucket}/shoot", "-o", f"{bucket}/out", "--json")
        assert json.loads(output)["copied"] == 1 and "new.png" in read_results_of_store(f"{bucket}/out")
        assert run(f"{bucket}/shoot", "-o", "s3://nowhere/out")[0] == 5
