"""What the filter costs in a real GIMP 3 beside the search itself; the limits are those that were set beforehand.

GIMP comes from ``tests/host``: an installed one, or a root folder that is built once. The plug-in is the installed copy
with a few lines added that note when the worker says what.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from skimage import data

from benchmarks.cost import group_photo
from tests.host import gimp as host
from tests.host.gimp import CHECKOUT, Gimp

sys.path.insert(0, str(CHECKOUT / "plugin"))
import worker_client
from worker_client.place import Place

FILE = "gimp.json"
_RUNS = 3
_STEPS = 20
# Added to the plug-in's run.py.
_PROBE = """

import json as _json
import os as _os
import time as _time

_finished = finished


def _note(*what):
    with open(_os.path.join(_os.environ["SHARE"], "notes.jsonl"), "a") as notes:
        notes.write(_json.dumps([_time.time(), *what]) + "\\n")


def finished(job, tell):
    def told(event):
        _note(event.kind)
        tell(event)

    event = _finished(job, told)
    _note("result", event.header.get("seconds", 0))
    return event
"""
_RUN = """
    image = load("large.tif")
    {prepare}
    source = image.get_layers()[0]
    began = time.time()
    status, error = protect(image, source, steps={steps})
    tell(began=began, ended=time.time(), status=status, error=error)
"""


@dataclass(frozen=True)
class Figure:
    """One figure, the median of ``values``; good when it is at most ``limit``."""

    name: str
    unit: str
    limit: float
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def run(results: Path, say: Callable[[str], None]) -> Path:
    """Measures, and writes ``gimp.json`` into the folder ``results``; gives its path.

    Raises:
        tests.host.root.NoRoot: there is no GIMP 3 and none can be had.
    """
    share = Path(tempfile.mkdtemp(prefix="pf-gimp-"))
    try:
        gimp = host.prepared(share)
        with (gimp.plug_in / "run.py").open("a", encoding="utf-8") as module:
            module.write(_PROBE)
        _write_photos(share)
        place = _place(gimp)
        try:
            figures = list(_figures(gimp, place))
        finally:
            worker_client.stop(place)
    finally:
        shutil.rmtree(share)
    for figure in figures:
        say(f"{figure.name}: {figure.median:.2f} {figure.unit} (at most {figure.limit:g})")
    found: dict[str, Any] = {
        "figures": [{**asdict(figure), "median": round(figure.median, 3)} for figure in figures],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        # More than there are cores: others had a share of them, and the times are too long.
        "load": round(os.getloadavg()[1], 1),
    }
    path = results / FILE
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def _figures(gimp: Gimp, place: Place) -> Iterator[Figure]:
    yield Figure("worker: cold start to ready", "s", 8, tuple(_cold(place) for _ in range(_RUNS)))
    first, overhead, memory = zip(*(_one_run(gimp, "pass") for _ in range(_RUNS)), strict=True)
    yield Figure("call to first progress, warm", "s", 0.5, first)
    yield Figure("overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("plug-in's process, 24 MP of 8 bits", "MB", 150, memory)
    *_, memory = zip(*(_one_run(gimp, "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)"),), strict=True)
    yield Figure("plug-in's process, 24 MP of linear floats", "MB", 150, memory)
    yield Figure("cancelled to stopped", "s", 1, tuple(_cancel(gimp, place) for _ in range(_RUNS)))
    time.sleep(2)
    yield Figure("worker, idle with its models", "MB", 700, (_status(place)["memory"] / 1e6,))


def _write_photos(share: Path) -> None:
    """A portrait of 24 megapixels, of the astronaut alone."""
    Image.fromarray(data.astronaut()).save(share / "astronaut.png")
    group_photo([share / "astronaut.png"], 24.0, share / "large.jpg")
    Image.open(share / "large.jpg").save(share / "large.tif")


def _place(gimp: Gimp) -> Place:
    """The worker as programs outside of GIMP's root folder start it."""
    pointer = json.loads(host.pointer(gimp.run_folder, in_root=False))
    return Place("benchmarks", pointer["command"], pointer["run"], pointer["environment"])


def _cold(place: Place) -> float:
    worker_client.stop(place)
    began = time.monotonic()
    with worker_client.connect(client="benchmarks", place=place):
        return time.monotonic() - began


def _one_run(gimp: Gimp, prepare: str) -> tuple[float, float, float]:
    """Seconds to the first progress, seconds outside of the search, and the plug-in's peak in MB."""
    notes = gimp.share / "notes.jsonl"
    notes.unlink(missing_ok=True)
    with _watched(gimp) as peaks:
        told = gimp.script("    import time\n" + _RUN.format(prepare=prepare, steps=_STEPS)).told
    if told["status"] != "success":
        raise RuntimeError(told["error"])
    noted = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    first = next(when for when, kind, *_ in noted if kind == "progress")
    search = sum(more[0] for _, kind, *more in noted if kind == "result")
    return first - told["began"], told["ended"] - told["began"] - search, max(peaks.values()) / 1e6


@contextmanager
def _watched(gimp: Gimp) -> Iterator[dict[int, int]]:
    """The highest memory use of each process of the plug-in, in bytes, while the block runs."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in _plug_ins(gimp):
                with suppress(OSError, IndexError):
                    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                    peaks[process.pid] = int(status.split("VmHWM:")[1].split()[0]) * 1024

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        over.set()
        watching.join()


def _plug_ins(gimp: Gimp) -> list[psutil.Process]:
    program = str(gimp.plug_in / "protect-face.py")
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if any(program in word for word in process.info["cmdline"] or [])]


def _cancel(gimp: Gimp, place: Place) -> float:
    """Seconds from the plug-in's end, which is what GIMP's Cancel is, until the worker has nothing to do."""
    notes = gimp.share / "notes.jsonl"
    notes.unlink(missing_ok=True)
    process = gimp.start("    import time\n" + _RUN.format(prepare="pass", steps=5000))
    while not notes.exists() or notes.read_text(encoding="utf-8").count('"progress"') < 10:
        time.sleep(0.05)
    for plug_in in _plug_ins(gimp):
        plug_in.kill()
    began = time.monotonic()
    while _status(place)["queue"]:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    process.communicate(timeout=120)
    return seconds


def _status(place: Place) -> dict[str, Any]:
    with worker_client.connect(client="benchmarks", place=place) as worker:
        return next(event.header for event in worker.submit("status").events() if event.kind == "result")
