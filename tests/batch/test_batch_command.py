"""`c2p batch` as it is typed: what it prints, what it ends with, and what it plans without doing it."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c2p_core import cli
from c2p_core.api import Progress
from c2p_core.batch.engine import Job
from c2p_core.batch.journal import Row
from c2p_core.batch.layout import Item
from c2p_core.batch.planning import Plan
from c2p_core.batch.run import Summary
from c2p_core.commands import batch as command
from c2p_core.errors import Message
from tests.batch.conftest import Run
from tests.batch.darken import read_results, save
from tests.checkout import ROOT, environment


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    folder = tmp_path / "shoot"
    save(folder / "a.png", 200)
    save(folder / "day 1" / "b.png", 100)
    return folder


def test_a_shoot_is_protected_and_summarised(shoot: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    code, output, err = run(shoot, "-o", out)
    assert (code, err) == (0, "")
    assert "2 photos protected (2 faces" in output and f"{shoot / 'a.png'} -> {out / 'a.png'}" in output
    assert sorted(read_results(out)) == ["a.png", "day 1/b.png"]


def test_options_reach_the_engine(shoot: Path, tmp_path: Path, run: Run, jobs: list[Job]) -> None:
    arguments = ["--prompt", "red lipstick", "--strength", "0.3", "--faces", "largest", "--strip-personal", "--no-mark"]
    arguments += ["--no-report"]
    assert run(shoot, "-o", tmp_path / "out", *arguments)[0] == 0
    (job,) = jobs
    expected = {"prompt": "red lipstick", "strength": 0.3, "faces": "largest", "recognisers": "auto"}
    assert expected.items() <= job.options.items() and job.strip_personal and not job.thumbnails and not job.mark
    assert not (tmp_path / "out" / "report.html").exists()


def test_one_bad_file_stops_nothing_and_gives_exit_code_8(shoot: Path, tmp_path: Path, run: Run) -> None:
    (shoot / "bad.jpg").write_bytes(b"no picture")
    code, output, err = run(shoot, "-o", tmp_path / "out")
    assert code == cli.SOME_FAILED and "2 photos protected" in output
    sentence = Message("image-format-unknown", path=str(shoot / "bad.jpg")).text()
    assert err.splitlines() == [f"c2p: {sentence}", "c2p: 1 of 3 photos failed."]


_CRASH = """
import sys
from functools import partial
from c2p_core import cli
from c2p_core.batch import processes
from tests.batch.darken import darken_with_read_ahead

processes.protect_in_processes = partial(processes.protect_in_processes, engine=darken_with_read_ahead)
code = cli.main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process kills itself as a crash would")
def test_a_photo_that_crashes_its_decoder_fails_alone_in_a_command_that_loads_no_torch_itself(
    shoot: Path, tmp_path: Path
) -> None:
    save(shoot / "deadly.png", 150)
    arguments = ["batch", str(shoot), "-o", str(tmp_path / "out"), "--json"]
    process = subprocess.run(
        [sys.executable, "-c", _CRASH, *arguments], capture_output=True, text=True, env=environment(), cwd=ROOT
    )
    assert process.returncode == cli.SOME_FAILED, process.stderr
    summary = json.loads(process.stdout)
    assert (summary["protected"], summary["remaining"]) == (2, 0)
    (failed,) = summary["failed"]
    assert (failed["photo"], failed["error"]["code"]) == (str(shoot / "deadly.png"), "process-ended")
    assert sorted(read_results(tmp_path / "out")) == ["a.png", "day 1/b.png"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_many_photos_are_done_how_long_the_rest_takes_and_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, terminal = [0.0], Terminal()
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    items = [Item(number, f"/shoot/{number}.png", f"{number}.png") for number in range(4)]
    done = Row("0.png", "settings", "digest", items[0].path, 1, 1, "done", {})
    failed = Row("1.png", "settings", "digest", items[1].path, 1, 1, "failed", {"error": {"text": "It's [damaged]."}})
    with command.show_batch(Plan(items), as_json=False) as display:
        clock[0] = 10
        display.finish(done, Summary(protected=1))
        clock[0] = 20
        display.finish(failed, Summary(protected=1, failed=[failed.report]))
        clock[0] = 25
        # The first of two faces is finished: half a photo.
        display.report_progress(items[2], Progress("search", 2, 2, 0, 40))
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d?;]*[a-zA-Z]", "", terminal.getvalue()))
    assert "c2p: It's [damaged]." in [line.strip() for line in lines]
    (shown,) = {line for line in lines if line.startswith("2.png")}
    # Two and a half photos in 25 seconds; one and a half are left.
    assert shown.split("━")[0].strip() == "2.png: face 2 of 2"
    assert shown.split()[-6:] == ["2", "of", "4", "0:00:25", "left:", "0:00:15"]


def test_the_last_line_names_a_folder_that_cannot_be_read(
    shoot: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if str(folder).endswith("day 1"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    code, output, err = run(shoot, "-o", tmp_path / "out")
    assert code == cli.SOME_FAILED and "1 photo protected" in output
    assert str(shoot / "day 1") in err.splitlines()[-1] and "photos failed" not in err


def test_photos_without_a_face_are_no_failure(shoot: Path, tmp_path: Path, run: Run) -> None:
    save(shoot / "landscape.png", 0)
    code, output, _ = run(shoot, "-o", tmp_path / "out")
    assert code == 0 and "1 without a face" in output


def test_the_summary_is_json_on_request(shoot: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    run(shoot / "day 1", "-o", out, "--json")
    code, output, _ = run(shoot, "-o", out, "--json")
    summary = json.loads(output)
    assert code == 0
    expected = {"protected": 1, "done_before": 1, "failed": [], "remaining": 0, "faces": 1}
    assert {name: summary[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--strength", "7"], 2),
        (["--faces", "1,2"], 2),
        (["--no-detect"], 2),
        (["--jobs", "0"], 2),
        (["--cores", "4"], 2),
        (["--address", "10.0.0.5:6379"], 2),
        (["--recognisers", "nobody"], 2),
        (["--reference", "nowhere.jpg"], 3),
    ],
)
def test_a_bad_option_is_refused_before_a_folder_is_made(
    shoot: Path, tmp_path: Path, run: Run, arguments: list[str], code: int
) -> None:
    assert run(shoot, "-o", tmp_path / "out", *arguments)[0] == code
    assert not (tmp_path / "out").exists()


def test_a_plan_writes_nothing_and_reports_what_is_left(shoot: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    code, output, _ = run(shoot, "-o", out, "--dry-run", "--no-detect", "--json")
    plan = json.loads(output)
    assert code == 0 and not out.exists()
    assert (plan["photos"], plan["faces"], plan["seconds"], plan["done_before"]) == (2, None, None, 0)
    run(shoot / "day 1", "-o", out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    plan = json.loads(run(shoot, "-o", out, "--dry-run", "--no-detect", "--json")[1])
    # The other photo is expected to have as many faces, which took half a second each.
    assert (plan["photos"], plan["seconds"], plan["pace"], plan["done_before"]) == (1, 0.5, "results", 1)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


def test_a_plan_for_a_cluster_expects_the_time_of_this_machine_alone(shoot: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    run(shoot / "day 1", "-o", out)
    code, output, _ = run(shoot, "-o", out, "--dry-run", "--no-detect", "--engine", "ray", "--jobs", "8")
    assert code == 0 and "Time expected on this machine: 0 s (0 s a face, as earlier results took)." in output


def test_nice_lowers_the_priority_and_the_batch_continues(shoot: Path, tmp_path: Path) -> None:
    arguments = ["batch", str(shoot), "-o", str(tmp_path / "out"), "--nice", "7", "--dry-run", "--no-detect"]
    code = f"import os; from c2p_core import cli; done = cli.main({arguments}); print(os.nice(0), done)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert process.stdout.splitlines()[-1] == f"{max(7, os.nice(0))} 0"


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
def test_many_photos_are_planned_in_little_time_and_memory(tmp_path: Path) -> None:
    folder = tmp_path / "shoot"
    for day in range(20):
        (folder / f"{day}").mkdir(parents=True)
        for number in range(500):
            (folder / f"{day}" / f"IMG_{number:05}.jpg").touch()
    arguments = ["batch", str(folder), "-o", str(tmp_path / "out"), "--dry-run", "--no-detect", "--json"]
    code = (
        f"import time; from c2p_core.cli import main; main({arguments});"
        " print(time.process_time(), open('/proc/self/status').read())"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    output, end, rest = process.stdout.partition("\n}\n")
    assert json.loads(output + end)["photos"] == 10_000
    seconds, *_ = rest.split()
    (memory,) = (int(line.split()[1]) for line in rest.splitlines() if line.startswith("VmHWM"))
    # A tenth of the photos, in a tenth of the time and memory beside that of the program itself.
    assert float(seconds) < 4 and memory < 120_000


_STOPPED = """
import sys, time
from c2p_core import cli
from c2p_core.commands import batch
from tests.batch.conftest import Run
from tests.batch.darken import darken

def slow(items, job, control):
    for outcome in darken(items, job, control):
        yield outcome
        print("one", flush=True)
        for _ in range(600):
            time.sleep(0.05)
            if control.cancel.cancelled and not {hangs}:
                break

batch.pick_engine = lambda count: slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "hangs"), [(2, False), (15, False), (2, True)])
def test_a_signal_saves_finished_photos_and_a_second_one_ends_at_once(
    shoot: Path, tmp_path: Path, number: int, hangs: bool
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", _STOPPED.format(hangs=hangs), "batch", str(shoot), "-o", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert process.stdout is not None
    while "one" not in process.stdout.readline():
        pass
    process.send_signal(number)
    if hangs:
        time.sleep(0.3)
        process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert list(read_results(out)) == ["a.png"]
    assert (out / "report.html").exists() is not hangs
    assert ("1 photo left" in err) is not hangs


def test_a_list_is_read_from_standard_input(
    shoot: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "read_standard_input", lambda: os.fsencode(shoot / "a.png"))
    code, output, _ = run("-", "-o", tmp_path / "out")
    assert code == 0 and "1 photo protected" in output
