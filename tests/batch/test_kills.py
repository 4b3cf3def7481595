"""A batch that is killed, at any moment: journal and results agree, nothing is half written, and the next run goes on.

`C2P_KILLS=20` kills the real command 20 times, and `C2P_KILL_SEED` repeats the draws of an earlier run.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from skimage import data
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from tests.batch.darken import read_results, run_batch, save
from tests.batch.results import list_parts, read_done
from tests.template_process import AVAILABLE, ForkedProcess, Template, start_template

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not AVAILABLE, reason="forks processes, on Linux")]

KILLS = int(os.environ.get("C2P_KILLS", "6"))
SEED = int(os.environ.get("C2P_KILL_SEED", random.randrange(1_000_000)))
# Of 80 moments: before and after every step, in turn.
_MOMENTS_OF_WRITING = range(1, 81, 3)
_FORMATS = ("png", "jpg", "webp")


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with start_template("tests.warm_search", "tests.batch.darken", OMP_NUM_THREADS="1") as started:
        yield started


# Moments before and after each step of writing, with an engine that takes no time.


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    folder = tmp_path / "shoot"
    for value, name in enumerate(("a.png", "day 1/b.png", "day 2/c.jpg"), 1):
        save(folder / name, 50 * value)
    save(folder / "landscape.png", 0)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


def test_a_kill_before_or_after_any_step_of_writing_loses_nothing(
    template: Template, shoot: Path, tmp_path: Path
) -> None:
    names = ["a.png", "day 1/b.png", "day 2/c.jpg"]
    killed = 0
    for moment in _MOMENTS_OF_WRITING:
        out = tmp_path / f"out {moment}"
        code, _, errors = template.run("tests.batch.darken", shoot, out, moment)
        assert code in (0, -9), errors
        killed += code == -9
        complete = {name: (out / name).stat().st_mtime_ns for name in read_results(out)}
        read_done(out)
        run_batch(shoot, out)
        assert sorted(read_done(out)) == sorted(read_results(out)) == names, moment
        assert complete.items() <= {name: (out / name).stat().st_mtime_ns for name in names}.items(), moment
        assert list_parts(out) == set(), moment
    assert killed == len(_MOMENTS_OF_WRITING)


# The real command, at moments drawn at random.


@dataclass(frozen=True)
class Kill:
    """When and how the command is killed.

    Attributes:
        jobs: how many processes it starts.
        group: whether all of them are killed, as by a power cut, or the first one alone.
        seconds: time after its start.
        changes: number of changes in the folder of results after which it is killed, if they come earlier.
        delay: seconds after the last of these changes.
    """

    jobs: int
    group: bool
    seconds: float
    changes: int | None
    delay: float


def draw_kill(chance: random.Random) -> Kill:
    """Half of the kills come while something is being written, which takes a small part of the time only."""
    changes = chance.randint(1, 60) if chance.random() < 0.5 else None
    seconds = 60.0 if changes else chance.uniform(0, 6)
    return Kill(chance.choice([1, 2]), chance.random() < 0.5, seconds, changes, chance.uniform(0, 0.01))


@dataclass(eq=False)
class _Changes(FileSystemEventHandler):
    """Counts the changes in a folder."""

    count: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in ("created", "modified", "moved", "deleted", "closed"):
            with self.changed:
                self.count += 1
                self.changed.notify_all()


@contextmanager
def count_changes(folder: Path) -> Iterator[_Changes]:
    changes, observer = _Changes(), Observer()
    observer.schedule(changes, str(folder), recursive=True)
    observer.start()
    try:
        yield changes
    finally:
        observer.stop()
        observer.join()


def wait_for_moment(kill: Kill, process: ForkedProcess, changes: _Changes) -> None:
    """Wait until the moment of a kill, or until the process has ended."""
    end = time.monotonic() + kill.seconds
    while time.monotonic() < end and process.poll() is None:
        with changes.changed:
            if kill.changes is not None and changes.count >= kill.changes:
                break
            changes.changed.wait(min(0.05, max(0.0, end - time.monotonic())))
    time.sleep(kill.delay)


def wait_for_group_to_end(group: int) -> None:
    """Wait until no process of a group runs: those of a batch end when they notice that the first one has."""
    end = time.monotonic() + 60
    while any(_is_of_group(process, group) for process in psutil.process_iter()):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)


def _is_of_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def add_photo(shoot: Path, number: int) -> None:
    """Add a photo that no other has: it is shifted."""
    portrait = np.roll(data.astronaut()[:280, 90:370], number, axis=1)
    place = shoot / f"day {number % 2}" / f"{number:02}.{_FORMATS[number % 3]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(portrait).save(place)


def test_the_command_killed_at_random_moments_loses_nothing_and_makes_nothing_twice(
    template: Template, tmp_path: Path
) -> None:
    print(f"C2P_KILL_SEED={SEED}")
    chance = random.Random(SEED)
    shoot, out = tmp_path / "shoot", tmp_path / "out"
    out.mkdir()
    command = ("c2p_core", "batch", shoot, "-o", out, "--steps", "2", "--recognisers", "faceres")
    photos = 0
    finished: dict[str, int] = {}
    for number in range(KILLS):
        while photos < len(finished) + 3:
            add_photo(shoot, photos)
            photos += 1
        kill = draw_kill(chance)
        print(number, kill)
        with count_changes(out) as changes, (tmp_path / "errors").open("w+b") as errors:
            process = template.start(*command, "--jobs", kill.jobs, stderr=errors.fileno())
            try:
                wait_for_moment(kill, process, changes)
            finally:
                process.kill(group=kill.group)
            assert process.wait(30) in (-9, 0), (tmp_path / "errors").read_text()
        wait_for_group_to_end(process.pid)
        done = read_done(out)
        assert list_parts(out) <= {".c2p", "report"}
        assert {name: done[name].result_mtime_ns for name in finished} == finished
        finished = {name: row.result_mtime_ns or 0 for name, row in done.items()}
        print(f"{len(finished)} photos are finished")

    code, output, errors = template.run(*command, "--json")
    assert code == 0, errors
    summary = json.loads(output)
    assert (summary["remaining"], summary["failed"]) == (0, [])
    rows = read_done(out)
    assert summary["done_before"] >= len(finished) and summary["done_before"] + summary["protected"] == photos
    expected = sorted(path.relative_to(shoot).as_posix() for path in shoot.rglob("*.*"))
    assert sorted(rows) == sorted(read_results(out)) == sorted(row.place for row in rows.values()) == expected
    assert {name: rows[name].result_mtime_ns for name in finished} == finished
    assert list_parts(out) == set()
    assert all(row.faces == 1 and row.report["faces"][0]["similarities"] for row in rows.values())
    assert (out / "report.html").read_text(encoding="utf-8").count("-after.jpg") == photos
