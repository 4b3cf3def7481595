"""What the filter costs in a real GIMP 3 and 2.10 beside the search itself; the limits were set beforehand.

GIMP comes from ``tests/host``: an installed one, or a root folder that is built once. The plug-in is the installed copy
with a few lines added that log the time of each message from the worker.
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

import numpy as np
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugin"))
import worker_client
from worker_client.location import WorkerLocation

from benchmarks.suites.cost import group_photo
from tests.host import gimp as host
from tests.host import gimp210
from tests.host.gimp import Gimp, plug_ins
from tests.host.gimp210 import Gimp210
from tests.host.root import NoRoot

FILE = "gimp.json"
_RUNS = 3
_STEPS = 20
_QUICK_STEPS = 12  # as the dialog's quick preview
# Added to the plug-ins' client; Python 2.7 too.
_PROBE = """

import json as _json

_result = Job.result


def _note(*what):
    with open(os.path.join(os.environ["SHARE"], "notes.jsonl"), "a") as notes:
        notes.write(_json.dumps([time.time()] + list(what)) + "\\n")


def _noted(job, tell):
    def told(event):
        _note(event.kind)
        tell(event)

    event = _result(job, told)
    _note("result", event.header.get("seconds", 0))
    return event


Job.result = _noted
"""
_RUN = """
    image = load("large.tif")
    {prepare}
    source = image.get_layers()[0]
    began = time.time()
    status, error = protect(image, source, steps={steps})
    tell(began=began, ended=time.time(), status=status, error=error)
"""
_RUN_210 = """
import time
image = pdb.gimp_file_load(os.path.join(SHARE, "large.tif"), "large.tif")
began = time.time()
protect(image, image.layers[0], steps={steps})
tell(began=began, ended=time.time())
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
    """Measure and write ``gimp.json`` into the folder ``results``; returns its path.

    Raises:
        tests.host.root.NoRoot: there is no GIMP 3 and none can be had.
    """
    share = Path(tempfile.mkdtemp(prefix="pf-gimp-"))
    try:
        gimp = host.prepared(share)
        _write_photos(share)
        location = _location(gimp)
        _probe(gimp.plug_in)
        try:
            figures = list(_figures(gimp, location))
            try:
                older = gimp210.prepared(share)
            except NoRoot as reason:
                say(f"GIMP 2.10 is not measured: {reason}")
            else:
                _probe(older.plug_in)
                figures += _figures_210(older)
        finally:
            worker_client.stop(location)
    finally:
        shutil.rmtree(share)
    for figure in figures:
        say(f"{figure.name}: {figure.median:.2f} {figure.unit} (at most {figure.limit:g})")
    summary: dict[str, Any] = {
        "figures": [{**asdict(figure), "median": round(figure.median, 3)} for figure in figures],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        # More than there are cores: other processes used them, too, so the times are too long.
        "load": round(os.getloadavg()[1], 1),
    }
    path = results / FILE
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return path


def _figures(gimp: Gimp, location: WorkerLocation) -> Iterator[Figure]:
    yield Figure("worker: cold start to ready", "s", 8, tuple(_cold(location) for _ in range(_RUNS)))
    first, overhead, memory = zip(*(_one_run(gimp, "pass") for _ in range(_RUNS)), strict=True)
    yield Figure("call to first progress, warm", "s", 0.5, first)
    yield Figure("overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("plug-in's process, 24 MP of 8 bits", "MB", 150, memory)
    *_, memory = zip(*(_one_run(gimp, "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)"),), strict=True)
    yield Figure("plug-in's process, 24 MP of linear floats", "MB", 150, memory)
    yield Figure("cancelled to stopped", "s", 1, tuple(_cancel(gimp, location) for _ in range(_RUNS)))
    quick, drawn, measured = _live(gimp.share / "large.tif", location)
    yield Figure("quick preview with meter", "s", 6, quick)
    yield Figure("preview drawn anew by another amount", "s", 0.3, drawn)
    yield Figure("meter of another amount", "s", 1.5, measured)
    time.sleep(2)
    yield Figure("worker, idle with its models", "MB", 700, (_status(location)["memory"] / 1e6,))


def _figures_210(gimp: Gimp210) -> Iterator[Figure]:
    first, overhead, memory = zip(*(_one_run_210(gimp) for _ in range(_RUNS)), strict=True)
    yield Figure("GIMP 2.10: call to first progress, warm", "s", 0.5, first)
    yield Figure("GIMP 2.10: overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("GIMP 2.10: plug-in's process, 24 MP of 8 bits", "MB", 150, memory)


def _probe(plug_in: Path) -> None:
    with (plug_in / "worker_client" / "client.py").open("a", encoding="utf-8") as module:
        module.write(_PROBE)


def _write_photos(share: Path) -> None:
    """A portrait of 24 megapixels, of the astronaut alone."""
    Image.fromarray(data.astronaut()).save(share / "astronaut.png")
    group_photo([share / "astronaut.png"], 24.0, share / "large.jpg")
    Image.open(share / "large.jpg").save(share / "large.tif")


def _location(gimp: Gimp) -> WorkerLocation:
    """The worker as programs outside of GIMP's root folder start it."""
    pointer = json.loads(host.pointer(gimp.run_folder, in_root=False))
    return WorkerLocation("benchmarks", pointer["command"], pointer["run"], pointer["environment"])


def _cold(location: WorkerLocation) -> float:
    worker_client.stop(location)
    began = time.monotonic()
    with worker_client.connect(client="benchmarks", location=location):
        return time.monotonic() - began


def _one_run(gimp: Gimp, prepare: str) -> tuple[float, float, float]:
    """Seconds to the first progress, seconds outside of the search, and the plug-in's peak in MB."""
    with _watched(gimp.plug_in) as peaks:
        told = gimp.script("    import time\n" + _RUN.format(prepare=prepare, steps=_STEPS)).told
    if told["status"] != "success":
        raise RuntimeError(told["error"])
    return *_times(gimp.share, told), max(peaks.values()) / 1e6


def _one_run_210(gimp: Gimp210) -> tuple[float, float, float]:
    """The same in GIMP 2.10."""
    with _watched(gimp.plug_in) as peaks:
        told, _ = gimp.script(_RUN_210.format(steps=_STEPS))
    return *_times(gimp.share, told), max(peaks.values()) / 1e6


def _times(share: Path, told: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first progress and seconds outside of the search, from the notes of one run, which are dropped."""
    notes = share / "notes.jsonl"
    noted = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    notes.unlink()
    first = next(when for when, kind, *_ in noted if kind == "progress")
    search = sum(more[0] for _, kind, *more in noted if kind == "result")
    return first - told["began"], told["ended"] - told["began"] - search


@contextmanager
def _watched(plug_in: Path) -> Iterator[dict[int, int]]:
    """The highest memory use of each process of a plug-in, in bytes, while the block runs."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in plug_ins(plug_in):
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


def _cancel(gimp: Gimp, location: WorkerLocation) -> float:
    """Seconds from the plug-in's end, which is what GIMP's Cancel is, until the worker has nothing to do."""
    notes = gimp.share / "notes.jsonl"
    process = gimp.start("    import time\n" + _RUN.format(prepare="pass", steps=5000))
    while not notes.exists() or notes.read_text(encoding="utf-8").count('"progress"') < 10:
        time.sleep(0.05)
    for plug_in in plug_ins(gimp.plug_in):
        plug_in.kill()
    began = time.monotonic()
    while _status(location)["queue"]:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    process.communicate(timeout=120)
    notes.unlink()
    return seconds


def _live(photo: Path, location: WorkerLocation) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Seconds of quick searches, and of drawing a face and asking the recognisers by other amounts than before."""
    pixels = np.asarray(Image.open(photo).convert("RGB"))
    height, width = pixels.shape[:2]

    def sent(found: dict[str, Any]) -> worker_client.Picture:
        x, y, w, h = (found["regions"][0][name] for name in ("x", "y", "width", "height"))
        rows = np.ascontiguousarray(pixels[y : y + h, x : x + w])
        return worker_client.Picture("photo", x, y, w, h, 3, "u8", strips=[rows.tobytes()])

    with worker_client.connect(client="benchmarks", location=location) as worker:

        def timed(kind: str, header: dict[str, Any], *pictures: worker_client.Picture) -> tuple[dict[str, Any], float]:
            began = time.monotonic()
            event = worker.submit(kind, header, pictures).result(lambda _event: None)
            return dict(event.header), time.monotonic() - began

        whole = worker_client.Picture("photo", 0, 0, width, height, 3, "u8", strips=[pixels.tobytes()])
        found, _ = timed("find", {"choose": "largest"}, whole)
        asked = {"faces": found["faces"][:1], "steps": _QUICK_STEPS, "full": [width, height]}
        searches = [timed("search", asked, sent(found)) for _ in range(_RUNS)]
        x0, y0, x1, y1 = map(int, found["faces"][0]["box"])
        view = {"search": searches[-1][0]["search"], "area": [x0, y0, x1 - x0, y1 - y0], "size": [600, 600]}
        amounts = [round(0.1 * number, 1) for number in range(3, 11)]
        # The first ones prepare what the others use.
        drawn = [timed("render", view | {"amount": amount})[1] for amount in amounts][2:]
        measured = [timed("measure", view | {"amount": amount})[1] for amount in amounts][2:]
    return tuple(seconds for _, seconds in searches), tuple(drawn), tuple(measured)


def _status(location: WorkerLocation) -> dict[str, Any]:
    with worker_client.connect(client="benchmarks", location=location) as worker:
        return dict(worker.submit("status").result(lambda _event: None).header)
