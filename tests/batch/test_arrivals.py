"""What comes into a watched folder: complete, under its last name, and once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, nullcontext
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from packaging.version import Version

from c2p_core import cli
from c2p_core.batch import processes
from c2p_core.batch.arrivals import Arrivals, locate_below, watch
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.journal import Journal
from c2p_core.batch.layout import Item
from c2p_core.batch.run import JOURNAL
from c2p_core.batch.sources import STATE_FOLDER
from c2p_core.errors import Message, UnreadableImage
from tests.batch.darken import darken, read_results, save
from tests.checkout import ROOT, environment


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrivals(tmp_path: Path, clock: Clock) -> Arrivals:
    (tmp_path / "in").mkdir()
    return Arrivals(str(tmp_path / "in"), str(tmp_path / "in" / "out"), clock=clock)


def take_ready(arrivals: Arrivals) -> list[str]:
    return [item.place.replace(os.sep, "/") for item in arrivals.take_ready()]


def test_a_photo_is_taken_once_when_it_has_not_changed_for_a_while(
    arrivals: Arrivals, clock: Clock, tmp_path: Path
) -> None:
    path = save(tmp_path / "in" / "a.png")
    arrivals.notify(str(path))
    assert take_ready(arrivals) == []
    clock.now = 1.9
    path.write_bytes(path.read_bytes() + b"more")
    clock.now = 2.1
    assert take_ready(arrivals) == []  # it grew, even without an event
    clock.now = 4.2
    assert take_ready(arrivals) == ["a.png"]
    clock.now = 9.0
    assert take_ready(arrivals) == []


def test_an_empty_file_is_waited_for(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.jpg"
    path.touch()
    arrivals.notify(str(path))
    assert take_ready(arrivals) == []
    clock.now = 5.0
    assert take_ready(arrivals) == []
    path.write_bytes(b"x")
    assert take_ready(arrivals) == []
    clock.now = 10.0
    assert take_ready(arrivals) == []
    clock.now = 13.0
    assert take_ready(arrivals) == ["a.jpg"]


def test_a_renamed_photo_is_taken_under_its_final_name(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "a.png")
    arrivals.notify(str(path))
    assert take_ready(arrivals) == []
    arrivals.notify(str(path.rename(path.with_name("b.png"))))
    assert take_ready(arrivals) == []
    clock.now = 3.0
    assert take_ready(arrivals) == ["b.png"]


def test_photos_in_a_new_folder_are_taken_but_not_results_or_hidden_files(
    arrivals: Arrivals, clock: Clock, tmp_path: Path
) -> None:
    for name in ("day 1/a.png", "day 1/.b.png", "out/c.png", ".hidden/d.png", "day 1/e.txt.jpg"):
        save(tmp_path / "in" / name)
        arrivals.notify(str(tmp_path / "in" / name))
    arrivals.notify(str(tmp_path / "in"))
    assert take_ready(arrivals) == []
    clock.now = 3.0
    assert sorted(take_ready(arrivals)) == ["day 1/a.png", "day 1/e.txt.jpg"]


def test_two_photos_with_one_place_in_the_results_are_both_kept(
    arrivals: Arrivals, clock: Clock, tmp_path: Path
) -> None:
    for name in ("a.jpg", "a.mpo"):
        (tmp_path / "in" / name).write_bytes(b"x")
        arrivals.notify(str(tmp_path / "in" / name))
    assert take_ready(arrivals) == []
    clock.now = 3.0
    assert sorted(take_ready(arrivals)) == ["a.jpg", "a.mpo.jpg"]


def test_results_below_the_folder_are_left_out_under_any_name(tmp_path: Path, clock: Clock) -> None:
    folder, link = tmp_path / "in", tmp_path / "link"
    folder.mkdir()
    try:
        link.symlink_to(folder, target_is_directory=True)
    except OSError as error:  # as on Windows without the right to
        pytest.skip(f"no link can be made here: {error}")
    assert locate_below(link / "out", folder) == str(folder / "out")
    assert locate_below(folder / "out", link) == str(link / "out")
    assert locate_below(tmp_path / "out", folder) == str(tmp_path / "out")
    arrivals = Arrivals(str(folder), locate_below(link / "out", folder), clock=clock)
    arrivals.notify(str(save(folder / "out" / "a.png")))
    clock.now = 3.0
    assert take_ready(arrivals) == []


@pytest.mark.parametrize("inner", ["", "in", "in/day 1"])
def test_a_folder_that_lies_among_the_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inner: str
) -> None:
    (tmp_path / inner).mkdir(parents=True, exist_ok=True)
    assert cli.main(["watch", str(tmp_path / inner), "-o", str(tmp_path)]) == 2
    sentence = Message("batch-into-sources", path=str(tmp_path)).text()
    assert capsys.readouterr().err == f"c2p: {sentence}\n"


def test_a_store_of_objects_is_no_folder_to_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", "s3://photos/in", "-o", str(tmp_path / "out")]) == 2
    sentence = Message("store-not-here", url="s3://photos/in").text()
    assert capsys.readouterr().err == f"c2p: {sentence}\n"


def test_wake_ends_a_wait(arrivals: Arrivals) -> None:
    arrivals.wake()
    assert arrivals.wait() is None


@pytest.mark.parametrize("poll", [False, True])
def test_written_and_renamed_files_are_noticed(tmp_path: Path, poll: bool) -> None:
    folder = tmp_path / "in"
    save(folder / "before.png")
    arrivals = Arrivals(str(folder), str(tmp_path / "out"), settle_seconds=0.2)
    with watch(arrivals, poll):
        time.sleep(0.3)
        save(folder / "new.png.part.png").rename(folder / "new.png")
        save(tmp_path / "day" / "inside.png").parent.rename(folder / "day")
        items: list[Item] = []
        while len(items) < 3:
            item = arrivals.wait()
            assert item is not None
            items.append(item)
    assert {item.place.replace(os.sep, "/") for item in items} == {"before.png", "new.png", "day/inside.png"}


def test_a_photo_does_not_come_again_when_another_comes_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    places = [f"{number}.png" for number in range(3)]
    folder.mkdir()
    arrivals = Arrivals(str(folder), str(tmp_path / "out"), settle_seconds=0.1)
    with watch(arrivals):
        items = []
        assert take_ready(arrivals) == []  # what was there before
        for place in places:
            save(folder / place)
            items.append(arrivals.wait())
        assert [item and item.place for item in items] == places


def test_a_rescan_brings_photos_whose_events_were_lost_and_none_that_came_before(
    arrivals: Arrivals, clock: Clock, tmp_path: Path
) -> None:
    known = save(tmp_path / "in" / "known.png")
    arrivals.notify(str(known))
    assert take_ready(arrivals) == []
    clock.now = 3.0
    assert take_ready(arrivals) == ["known.png"]
    save(tmp_path / "in" / "day 1" / "lost.png")
    save(tmp_path / "in" / "out" / "result.png")
    clock.now = 299.0
    assert take_ready(arrivals) == []
    clock.now = 301.0
    assert take_ready(arrivals) == []  # seen, but perhaps not complete
    clock.now = 304.0
    assert take_ready(arrivals) == ["day 1/lost.png"]
    known.write_bytes(known.read_bytes() + b"changed")
    clock.now = 602.0
    assert take_ready(arrivals) == []
    clock.now = 605.0
    assert take_ready(arrivals) == ["known.png"]


def test_a_warning_of_the_observer_brings_a_rescan(arrivals: Arrivals, clock: Clock, tmp_path: Path) -> None:
    """It reports lost events in no other way."""
    with watch(arrivals):
        assert take_ready(arrivals) == []
        (tmp_path / "elsewhere").mkdir()
        arrivals.folder = str(save(tmp_path / "elsewhere" / "a.png").parent)  # of which no events come
        logging.getLogger("watchdog.observers").warning("events were lost")
        assert take_ready(arrivals) == []
        clock.now = 3.0
        assert take_ready(arrivals) == ["a.png"]


def test_a_photo_that_came_while_the_folder_was_somewhere_else_is_found_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    arrivals = Arrivals(str(folder), str(tmp_path / "out"), settle_seconds=0.1, rescan_seconds=0.2)
    with watch(arrivals):
        folder.rename(tmp_path / "other")
        save(tmp_path / "other" / "a.png")
        time.sleep(0.3)
        assert take_ready(arrivals) == []
        (tmp_path / "other").rename(folder)
        assert (item := arrivals.wait()) is not None and item.place == "a.png"


_PRINT_ARRIVALS = """
import sys
from c2p_core.batch.arrivals import Arrivals, watch

arrivals = Arrivals(sys.argv[1], sys.argv[2], settle_seconds=0.1, rescan_seconds=float(sys.argv[3]))
with watch(arrivals):
    while (item := arrivals.wait()) is not None:
        print(item.place, flush=True)
"""
_QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.mark.skipif(not _QUEUE_LIMIT.exists(), reason="needs the inotify of Linux")
@pytest.mark.parametrize("rescan_seconds", [1, 300])
def test_photos_whose_events_the_system_dropped_are_found(tmp_path: Path, rescan_seconds: int) -> None:
    """The program is held while there are more changes than the queue has room for."""
    if rescan_seconds == 300 and Version(version("watchdog")) < Version("7.1"):
        pytest.skip("needs watchdog 7.1, which tells that events were dropped")
    limit = int(_QUEUE_LIMIT.read_text())
    if limit > 100_000:
        pytest.skip(f"the queue of inotify has room for {limit} events, too many to fill")
    folder = save(tmp_path / "in" / "before.png").parent
    arguments = [str(folder), str(tmp_path / "out"), str(rescan_seconds)]
    command = [sys.executable, "-c", _PRINT_ARRIVALS, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment(), cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            assert process.stdout.readline() == "before.png\n"
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            for _ in range(limit // 2 + 1):
                (folder / "busy").touch()
                (folder / "busy").unlink()
            save(folder / "day" / "lost.png")
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline() == f"{Path('day', 'lost.png')}\n"
            save(folder / "day" / "later.png")
            assert process.stdout.readline() == f"{Path('day', 'later.png')}\n"
        finally:
            process.kill()
        assert process.stderr.read() == ""


def replace_folder(folder: Path) -> None:
    folder.rename(folder.with_name("before"))
    folder.mkdir()


@pytest.mark.parametrize("poll", [False, True])
@pytest.mark.parametrize("lose", [Path.rmdir, lambda folder: folder.rename(folder.with_name("other"))])
def test_losing_the_folder_ends_the_wait(tmp_path: Path, poll: bool, lose: Callable[[Path], None]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    arrivals = Arrivals(str(folder), str(tmp_path / "out"), settle_seconds=0.2)
    with watch(arrivals, poll):
        lose(folder)
        with pytest.raises(UnreadableImage) as error:
            arrivals.wait()
    assert (error.value.code, error.value.fields) == ("watched-folder-gone", {"path": str(folder)})


def test_another_folder_of_the_same_name_is_not_the_watched_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    arrivals = Arrivals(str(folder), str(tmp_path / "out"), settle_seconds=0.2)
    with watch(arrivals):
        replace_folder(folder)
        with pytest.raises(UnreadableImage):
            arrivals.wait()
    with watch(arrivals, poll=True):
        (tmp_path / "before").rmdir()
        replace_folder(folder)
        save(folder / "a.png")
        assert (item := arrivals.wait()) is not None and item.place == "a.png"


def test_the_command_ends_with_an_error_when_its_folder_disappears(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "a.png", 200)

    def protect_and_lose(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        yield from darken(items, job, control)
        folder.rename(tmp_path / "other")

    monkeypatch.setattr(processes, "open_processes", lambda count: nullcontext(protect_and_lose))
    assert cli.main(["watch", str(folder), "-o", str(out), "--settle", "0.1"]) == UnreadableImage.exit_code
    sentence = Message("watched-folder-gone", path=str(folder)).text()
    assert capsys.readouterr().err == f"c2p: {sentence}\n"
    assert list(read_results(out)) == ["a.png"] and (out / "report.html").exists()


_WATCH = """
import sys
from functools import partial
from c2p_core import cli
from c2p_core.batch import processes
from tests.batch.darken import darken_with_read_ahead

processes.open_processes = partial(processes.open_processes, engine=darken_with_read_ahead)
sys.exit(cli.main(sys.argv[1:]))
"""


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("the condition was never met")


def measure_cpu_time(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


@pytest.mark.slow
def test_the_command_protects_arrivals_uses_no_cpu_when_idle_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "out"
    save(folder / "a.png", 200)
    process = subprocess.Popen(
        [sys.executable, "-c", _WATCH, "watch", folder.as_uri(), "-o", str(out), "--settle", "0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    usage = psutil.Process(process.pid)
    try:
        wait_for(lambda: (out / "report.html").exists())
        workers = usage.children()
        save(folder / "later" / "b.png", 100)
        wait_for(lambda: (out / "later" / "b.png").exists())
        wait_for(lambda: "b.png" in (out / "report.html").read_text(encoding="utf-8"))
        assert workers and usage.children() == workers, "the models stay loaded"
        before = measure_cpu_time([usage, *workers])
        time.sleep(2)
        assert measure_cpu_time([usage, *workers]) - before < 0.05
    finally:
        process.send_signal(signal.SIGINT)
        output, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "2 photos were protected" in err, output
    assert list(read_results(out)) == ["a.png", "later/b.png"]
    assert psutil.wait_procs(workers, timeout=10)[1] == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process kills itself as a crash would")
def test_an_arrival_that_crashes_its_decoder_fails_and_the_next_one_is_protected(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "deadly.png", 200)
    process = subprocess.Popen(
        [sys.executable, "-c", _WATCH, "watch", str(folder), "-o", str(out), "--settle", "0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    try:
        wait_for(lambda: (out / "report.html").exists())
        save(folder / "b.png", 100)
        wait_for(lambda: (out / "b.png").exists())
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    with closing(Journal(out / STATE_FOLDER / JOURNAL)) as journal:
        rows = {row.place: row for row in journal.read_rows()}
    assert {place: row.state for place, row in rows.items()} == {"deadly.png": "failed", "b.png": "done"}
    assert rows["deadly.png"].report["error"]["code"] == "process-ended"
