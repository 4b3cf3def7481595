"""What the filter costs in a real GIMP 3 and 2.10 beside the search itself; the limits were set beforehand.

GIMP comes from ``tests/host``: an installed one, or a root folder that is built once. The plug-in is the installed copy
with a few lines added that log the time of each message from the worker. What needs a window is measured in one, on a
virtual screen, with the worker on all cores.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugin"))
import worker_client
from worker_client.location import WorkerLocation, read_endpoint

from benchmarks.suites.cost import group_photo
from tests.host import gimp as host
from tests.host import gimp210, test_window
from tests.host.gimp import Gimp, find_plug_in_processes
from tests.host.gimp210 import Gimp210
from tests.host.root import NoRoot

FILE = "gimp.json"
_RUNS = 3
_STEPS = 20
_LARGE, _HUGE = 24.0, 50.0  # megapixels
# Added to the plug-ins' client; Python 2.7 too.
_PROBE = """

import json as _json

_result = Job.result


def _note(*what):
    with open(os.path.join(os.environ["SHARE"], "notes.jsonl"), "a") as notes:
        notes.write(_json.dumps([time.time()] + list(what)) + "\\n")


def _noted(job, on_event, **more):
    def note_event(event):
        _note(event.kind)
        on_event(event)

    event = _result(job, note_event, **more)
    _note("result", event.header.get("seconds", 0))
    return event


Job.result = _noted
"""
_RUN = """
    image = load("{photo}")
    {prepare}
    source = image.get_layers()[0]
    began = time.time()
    status, error = protect(image, source, steps={steps})
    report(began=began, ended=time.time(), status=status, error=error)
"""
_RUN_210 = """
import time
image = pdb.gimp_file_load(os.path.join(SHARE, "astronaut-24.tif"), "astronaut-24.tif")
began = time.time()
protect(image, image.layers[0], steps={steps})
report(began=began, ended=time.time())
"""
# Orders for the open dialog, see ``tests.host.test_window.DRIVER``: they note when what is asked for is shown.
_NOTE_TIMES = """
import time
dialog.times = {}
def note(place, name, key):
    call = getattr(place, name)
    def noted(*arguments):
        call(*arguments)
        dialog.times[key] = time.time()
    setattr(place, name, noted)
note(dialog._meter, "show_figures", "meter")
note(dialog._preview, "show_pair", "picture")
"""
_BEGIN = "import time; dialog.times = {{'began': time.time()}}; "
_QUICK = _BEGIN + "dialog._config.set_property('seed', {}); dialog._quick_button.clicked()"
_AMOUNT = _BEGIN + "dialog._config.set_property('amount', {})"
_TIMES = "found.update(dialog.times)"
_FOUND = "found['shown'] = getattr(dialog, 'shown_at', 0)"
# Added to the dialog, before the driver: when the photo is shown with its faces.
_SHOWN = """

import time as _time

_faces_shown = ProtectDialog._show_faces


def _shown(self, event):
    _faces_shown(self, event)
    self.shown_at = _time.time()


ProtectDialog._show_faces = _shown
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
        gimp = host.prepare_gimp(share)
        pointer = gimp.plug_in / "protect-face-worker.json"
        pointer.write_text(_on_all_cores(pointer.read_text()))
        _write_photos(share)
        location = _location(gimp)
        _probe(gimp.plug_in)
        try:
            figures = list(_told(_figures(gimp, location), say))
            if missing := test_window.missing_programs(gimp):
                say(f"The dialog is not measured: there is no {', '.join(missing)} here.")
            else:
                figures += _told(_dialog_figures(gimp, location), say)
            try:
                older = gimp210.prepare_gimp210(share)
            except NoRoot as reason:
                say(f"GIMP 2.10 is not measured: {reason}")
            else:
                _probe(older.plug_in)
                figures += _told(_figures_210(older), say)
        finally:
            worker_client.stop(location)
    finally:
        shutil.rmtree(share)
    summary: dict[str, Any] = {
        "figures": [{**asdict(figure), "median": round(figure.median, 3)} for figure in figures],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        # More than there are cores: other processes used them, too, so the times are too long.
        "load": round(os.getloadavg()[1], 1),
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / FILE
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return path


def _told(figures: Iterable[Figure], say: Callable[[str], None]) -> Iterator[Figure]:
    for figure in figures:
        say(f"{figure.name}: {figure.median:.2f} {figure.unit} (at most {figure.limit:g})")
        yield figure


def _figures(gimp: Gimp, location: WorkerLocation) -> Iterator[Figure]:
    yield Figure("worker: cold start to ready", "s", 8, tuple(_cold(location) for _ in range(_RUNS)))
    first, overhead, memory, _ = zip(*(_one_run(gimp, location, "pass") for _ in range(_RUNS)), strict=True)
    yield Figure("call to first progress, warm", "s", 0.5, first)
    yield Figure("overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("plug-in's process, 24 MP of 8 bits", "MB", 150, memory)
    *_, peak, _ = _one_run(gimp, location, "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)")
    yield Figure("plug-in's process, 24 MP of linear floats", "MB", 150, (peak,))
    for photo, words in (("astronaut-50.tif", "50 MP"), ("astronaut-face.tif", "50 MP, all of it a face")):
        *_, peak, worker = _one_run(gimp, location, "pass", photo)
        yield Figure(f"plug-in's process, {words}", "MB", 150, (peak,))
        yield Figure(f"worker, {words}", "MB", 1400, (worker,))
    yield Figure("cancelled to stopped", "s", 1, tuple(_cancel(gimp, location) for _ in range(_RUNS)))
    time.sleep(2)
    yield Figure("worker, idle with its models", "MB", 730, (_status(location)["memory"] / 1e6,))


def _dialog_figures(gimp: Gimp, location: WorkerLocation) -> Iterator[Figure]:
    with (gimp.plug_in / "dialog.py").open("a", encoding="utf-8") as module:
        module.write(_SHOWN)
    with test_window.opened_window(gimp, gimp.share / "astronaut-24.tif") as window:
        opened = []
        for _ in range(_RUNS + 1):
            window.choose("Protect Face", test_window.DIALOG)
            shown = window.ask_until(_FOUND, lambda found: bool(found["shown"]))["shown"]
            (process,) = _plug_ins_of(window)
            opened.append(shown - _started(process.pid))
            if len(opened) <= _RUNS:
                window.dismiss()
        # The first time GIMP and GTK read what they keep from then on.
        yield Figure("dialog to the photo with its faces, warm, 24 MP", "s", 2, tuple(opened[1:]))
        window.ask(_NOTE_TIMES)

        def timed(order: str, wanted: set[str]) -> dict[str, float]:
            window.ask(order)
            times = window.ask_until(_TIMES, lambda found: wanted <= set(found))
            return {name: times[name] - times["began"] for name in wanted}

        quick = [timed(_QUICK.format(seed), {"meter"})["meter"] for seed in range(1, _RUNS + 1)]
        yield Figure("quick preview with meter, 24 MP", "s", 6, tuple(quick))
        amounts = [timed(_AMOUNT.format(10 * number), {"picture", "meter"}) for number in range(3, 10)]
        yield Figure("preview drawn anew by another amount", "s", 0.3, tuple(a["picture"] for a in amounts))
        yield Figure("meter of another amount", "s", 1.5, tuple(a["meter"] for a in amounts))
    for photo, words in (("astronaut-50.tif", "50 MP"), ("astronaut-face.tif", "50 MP, all of it a face")):
        with test_window.opened_window(gimp, gimp.share / photo) as window:
            window.open_dialog()
            with _watched(partial(_plug_ins_of, window)) as peaks, _watched_worker(location) as worker:
                window.ask(f"dialog._config.set_property('steps', {_STEPS}); dialog._search_button.clicked()")
                window.ask_until(
                    "found['meter'] = bool(dialog._current and dialog._meter.figures)",
                    lambda found: bool(found["meter"]),
                )
                window.protect()
        yield Figure(
            f"plug-in's process with dialog, preview and result, {words}", "MB", 150, (max(peaks.values()) / 1e6,)
        )
        yield Figure(f"worker meanwhile, {words}", "MB", 1400, (max(worker) / 1e6,))
    (gimp.share / "notes.jsonl").unlink(missing_ok=True)


def _started(pid: int) -> float:
    """When a process started, in seconds since the epoch; psutil's time is off by up to a second."""
    clock_ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - clock_ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _plug_ins_of(window: test_window.Window) -> list[psutil.Process]:
    return find_plug_in_processes(window.gimp.share / "profile-window" / "plug-ins" / "protect-face")


def _figures_210(gimp: Gimp210) -> Iterator[Figure]:
    first, overhead, memory = zip(*(_one_run_210(gimp) for _ in range(_RUNS)), strict=True)
    yield Figure("GIMP 2.10: call to first progress, warm", "s", 0.5, first)
    yield Figure("GIMP 2.10: overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("GIMP 2.10: plug-in's process, 24 MP of 8 bits", "MB", 150, memory)


def _probe(plug_in: Path) -> None:
    with (plug_in / "worker_client" / "client.py").open("a", encoding="utf-8") as module:
        module.write(_PROBE)


def _write_photos(share: Path) -> None:
    """Portraits of 24 and 50 megapixels, of the astronaut alone, and one of nothing but her face."""
    portrait = Image.fromarray(data.astronaut())
    portrait.save(share / "astronaut.png")
    portrait.crop((152, 20, 302, 200)).save(share / "face.png")
    for source, size, name in (("astronaut", _LARGE, "24"), ("astronaut", _HUGE, "50"), ("face", _HUGE, "face")):
        group_photo([share / f"{source}.png"], size, share / "large.jpg")
        Image.open(share / "large.jpg").save(share / f"astronaut-{name}.tif")


def _location(gimp: Gimp) -> WorkerLocation:
    """The worker as programs outside of GIMP's root folder start it."""
    pointer = json.loads(_on_all_cores(host.make_pointer(gimp.run_folder, in_root=False)))
    return WorkerLocation("benchmarks", pointer["command"], pointer["run"], pointer["environment"])


def _on_all_cores(pointer: str) -> str:
    """What leads to the worker of the tests, which leaves cores to other tests, for one on all of them."""
    return pointer.replace("OMP_NUM_THREADS=1", f"OMP_NUM_THREADS={os.cpu_count()}")


def _cold(location: WorkerLocation) -> float:
    worker_client.stop(location)
    began = time.monotonic()
    with worker_client.connect(client="benchmarks", location=location):
        return time.monotonic() - began


def _one_run(
    gimp: Gimp, location: WorkerLocation, prepare: str, photo: str = "astronaut-24.tif"
) -> tuple[float, float, float, float]:
    """Seconds to the first progress, seconds outside of the search, and the plug-in's and the worker's peaks in MB."""
    script = "    import time\n" + _RUN.format(prepare=prepare, steps=_STEPS, photo=photo)
    with _watched(partial(find_plug_in_processes, gimp.plug_in)) as peaks, _watched_worker(location) as worker:
        results = gimp.script_alone(script).results
    if results["status"] != "success":
        raise RuntimeError(results["error"])
    return *_times(gimp.share, results), max(peaks.values()) / 1e6, max(worker) / 1e6


def _one_run_210(gimp: Gimp210) -> tuple[float, float, float]:
    """The same in GIMP 2.10."""
    with _watched(partial(find_plug_in_processes, gimp.plug_in)) as peaks:
        results, _ = gimp.script_alone(_RUN_210.format(steps=_STEPS))
    return *_times(gimp.share, results), max(peaks.values()) / 1e6


def _times(share: Path, results: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first progress and seconds outside of the search, from the notes of one run, which are dropped."""
    notes = share / "notes.jsonl"
    noted = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    notes.unlink()
    first = next(when for when, kind, *_ in noted if kind == "progress")
    search = sum(more[0] for _, kind, *more in noted if kind == "result")
    return first - results["began"], results["ended"] - results["began"] - search


@contextmanager
def _watched(find: Callable[[], Iterable[psutil.Process]]) -> Iterator[dict[int, int]]:
    """The highest memory use of each process, in bytes, while the block runs; ``find`` tells which are there."""
    peaks: dict[int, int] = {}

    def look() -> None:
        for process in find():
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                peaks[process.pid] = int(status.split("VmHWM:")[1].split()[0]) * 1024

    with _repeated(look):
        yield peaks


@contextmanager
def _watched_worker(location: WorkerLocation) -> Iterator[list[int]]:
    """The memory of the worker's processes together, in bytes, again and again while the block runs."""
    sums: list[int] = []

    def look() -> None:
        endpoint = read_endpoint(location.run_folder)
        if endpoint is None:
            return
        with suppress(psutil.Error):
            worker = psutil.Process(endpoint["pid"])
            sums.append(sum(p.memory_info().rss for p in (worker, *worker.children(recursive=True))))

    with _repeated(look):
        yield sums


@contextmanager
def _repeated(look: Callable[[], object]) -> Iterator[None]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            look()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _cancel(gimp: Gimp, location: WorkerLocation) -> float:
    """Seconds from the plug-in's end, which is what GIMP's Cancel is, until the worker has nothing to do."""
    notes = gimp.share / "notes.jsonl"
    process = gimp.start("    import time\n" + _RUN.format(prepare="pass", steps=5000, photo="astronaut-24.tif"))
    while not notes.exists() or notes.read_text(encoding="utf-8").count('"progress"') < 10:
        time.sleep(0.05)
    for plug_in in find_plug_in_processes(gimp.plug_in):
        plug_in.kill()
    began = time.monotonic()
    while _status(location)["queue"]:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    process.communicate(timeout=120)
    notes.unlink()
    return seconds


def _status(location: WorkerLocation) -> dict[str, Any]:
    with worker_client.connect(client="benchmarks", location=location) as worker:
        return dict(worker.submit("status").result(lambda _event: None).header)
