"""`c2p batch` with real searches: its plan, and Ctrl-C in the middle; `test_kills` has what kills it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core import cli
from c2p_core.batch import run
from c2p_core.batch.journal import Journal
from tests.batch.darken import read_results, save
from tests.template_process import AVAILABLE, Template, start_template


@pytest.mark.slow
def test_a_plan_finds_the_faces_and_estimates_their_time_and_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shoot, out = tmp_path / "shoot", tmp_path / "out"
    portrait = data.astronaut()
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]])).save(save(shoot / "two.png"))
    Image.fromarray(portrait).save(save(shoot / "one.png"))
    save(shoot / "landscape.png", 120, (300, 200))
    (shoot / "damaged.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert cli.main(["batch", str(shoot), "-o", str(out), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "3 faces to protect in 2 photos; 1 photo without; 1 photo can't be read." in output
    ((total, a_face),) = re.findall(
        r"Time expected on this machine: (\d+) (?:s|min) \((\d+) s a face, measured", output
    )
    assert int(total) > 0 and int(a_face) > 0
    assert re.search(r"^Disk needed: \d+\.\d MB; \d+\.\d [MG]B are free\.$", output, re.MULTILINE)
    assert cli.main(["batch", str(shoot), "-o", str(out), "--dry-run", "--json", "--steps", "2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["photos"], plan["faces"], plan["without"], plan["unreadable"]) == (4, 3, 1, 1)
    assert plan["seconds"] == pytest.approx(3 * plan["seconds_a_face"]) and 0 < plan["seconds_a_face"] < int(a_face)
    assert plan["disk"] == plan["bytes"] + 4 * 93_000 and not out.exists()


def wait_for_end(group: int) -> None:
    """Wait until none of a group of processes is left: those that worked end when they notice that the first has."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes are left")


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with start_template("tests.warm_search", OMP_NUM_THREADS="1") as started:
        yield started


@pytest.mark.slow
@pytest.mark.skipif(not AVAILABLE, reason="forks processes, on Linux")
@pytest.mark.parametrize(
    ("options", "signals", "names"), [([], 2, "abc"), (["--jobs", "2"], 1, "abcde"), (["--jobs", "2"], 2, "abcd")]
)
def test_ctrl_c_leaves_complete_results_and_the_next_run_does_the_rest(
    template: Template, tmp_path: Path, options: list[str], signals: int, names: str
) -> None:
    """A second Ctrl-C comes while the first one's step is still computed, of four faces at a time."""
    shoot, out = tmp_path / "shoot", tmp_path / "out"
    portrait = data.astronaut()[:280, 90:370]
    Image.fromarray(portrait).save(save(shoot / "a.png"))
    Image.fromarray(np.hstack([portrait, portrait[:, ::-1]] * 2)).save(shoot / "b.png")
    # One Ctrl-C ends the searches, but what was searched by then is finished: of two processes, perhaps all four photos
    # that they have. The fifth is left.
    for shift, name in enumerate(names[2:], 1):
        Image.fromarray(np.roll(portrait, 8 * shift, axis=1)).save(shoot / f"{name}.png")
    command = ("c2p_core", "batch", shoot, "-o", out, "--steps", "3")
    with (tmp_path / "errors").open("w+b") as errors:
        process = template.start(*command, *options, stderr=errors.fileno())
        try:
            while not (out / "a.png").exists():
                assert process.poll() is None
                time.sleep(0.02)
            for _ in range(signals):
                process.kill(signal.SIGINT, group=True)  # as a terminal does
                time.sleep(0.25)  # two that arrive before the first is handled are one
            code = process.wait(120)
        finally:
            process.kill(group=True)
    err = (tmp_path / "errors").read_text()
    assert code == 130 and "Traceback" not in err, err
    assert ("Stopped at once." in err, "Run the same command again to go on." in err) == (signals == 2, signals == 1)
    wait_for_end(process.pid)
    finished_first = {name: path.stat().st_mtime_ns for name in read_results(out) if (path := out / name)}
    assert (
        "a.png" in finished_first
        and len(finished_first) < len(names)
        and all(Image.open(out / name).load() is not None for name in finished_first)
    )
    assert [path for path in out.rglob("*.part") if path.parent.name != ".c2p"] == []
    assert (out / "report.html").exists() is (signals == 1)

    code, output, err = template.run(*command, "--json")
    assert code == 0, err
    summary = json.loads(output)
    assert (summary["done_before"], summary["protected"]) == (len(finished_first), len(names) - len(finished_first))
    assert sorted(read_results(out)) == [f"{name}.png" for name in names] and list(out.rglob("*.part")) == []
    assert {name: (out / name).stat().st_mtime_ns for name in finished_first} == finished_first
    journal = Journal(out / ".c2p" / run.JOURNAL)
    rows = {row.place: (row.state, row.faces) for row in journal.read_rows()}
    journal.close()
    assert rows == {f"{name}.png": ("done", 4 if name == "b" else 1) for name in names}
