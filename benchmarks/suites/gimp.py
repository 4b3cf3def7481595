"""Overhead of the filter in a real GIMP 3 and 2.10 beside the search; the limits were set beforehand.

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

from benchmarks.suites.cost import make_group_photo
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
# Runs before the dialog is built: notes the times at which the photo with its faces and results are shown.
_NOTE_TIMES = """
import time

times = {}


def note(kind, name, key):
    call = getattr(kind, name)

    def note_time(*arguments):
        call(*arguments)
        times[key] = time.time()

    setattr(kind, name, note_time)


note(preview.Preview, "show_photo", "photo")
note(preview.Preview, "show_pair", "picture")
note(meter.Meter, "show_figures", "meter")
"""
# Orders for the open dialog, see ``tests/host/dialog_driver.py``.
_BEGIN = "times.clear(); times['began'] = time.time(); "
_QUICK = _BEGIN + "config.set_property('seed', {}); find_button('Quick preview').clicked()"
_AMOUNT = _BEGIN + "config.set_property('amount', {})"
_TIMES = "found.update(times)"


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


def run(results: Path, log: Callable[[str], None]) -> Path:
    """Measure and write ``gimp.json`` into the folder ``results``; returns its path.

    Raises:
        tests.host.root.NoRoot: there is no GIMP 3 and none can be built.
    """
    share = Path(tempfile.mkdtemp(prefix="pf-gimp-"))
    try:
        gimp = host.prepare_gimp(share)
        pointer = gimp.plug_in / "protect-face-worker.json"
        pointer.write_text(_use_all_cores(pointer.read_text()))
        _write_photos(share)
        location = _locate_worker(gimp)
        _add_probe(gimp.plug_in)
        try:
            figures = list(_report_figures(_measure_gimp3(gimp, location), log))
            if missing := test_window.list_missing_programs(gimp):
                log(f"The dialog is not measured: there is no {', '.join(missing)} here.")
            else:
                figures += _report_figures(_measure_dialog(gimp, location), log)
            try:
                older = gimp210.prepare_gimp210(share)
            except NoRoot as reason:
                log(f"GIMP 2.10 is not measured: {reason}")
            else:
                _add_probe(older.plug_in)
                figures += _report_figures(_measure_gimp210(older), log)
        finally:
            worker_client.stop(location)
    finally:
        shutil.rmtree(share)
    summary: dict[str, Any] = {
        "figures": [{**asdict(figure), "median": round(figure.median, 3)} for figure in figures],
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        # If it exceeds the number of cores, other processes ran as well and the times are too long.
        "load": round(os.getloadavg()[1], 1),
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / FILE
    path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return path


def _report_figures(figures: Iterable[Figure], log: Callable[[str], None]) -> Iterator[Figure]:
    for figure in figures:
        log(f"{figure.name}: {figure.median:.2f} {figure.unit} (at most {figure.limit:g})")
        yield figure


def _measure_gimp3(gimp: Gimp, location: WorkerLocation) -> Iterator[Figure]:
    yield Figure("worker: cold start to ready", "s", 8, tuple(_time_cold_start(location) for _ in range(_RUNS)))
    first, overhead, memory, _ = zip(*(_measure_run(gimp, location, "pass") for _ in range(_RUNS)), strict=True)
    yield Figure("call to first progress, warm", "s", 0.5, first)
    yield Figure("overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("plug-in's process, 24 MP of 8 bits", "MB", 150, memory)
    *_, peak, _ = _measure_run(gimp, location, "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)")
    yield Figure("plug-in's process, 24 MP of linear floats", "MB", 150, (peak,))
    for photo, label in (("astronaut-50.tif", "50 MP"), ("astronaut-face.tif", "50 MP, all of it a face")):
        *_, peak, worker = _measure_run(gimp, location, "pass", photo)
        yield Figure(f"plug-in's process, {label}", "MB", 150, (peak,))
        yield Figure(f"worker, {label}", "MB", 1400, (worker,))
    yield Figure("cancelled to stopped", "s", 1, tuple(_time_cancel(gimp, location) for _ in range(_RUNS)))
    time.sleep(2)
    yield Figure("worker, idle with its models", "MB", 730, (_fetch_status(location)["memory"] / 1e6,))


def _measure_dialog(gimp: Gimp, location: WorkerLocation) -> Iterator[Figure]:
    with test_window.open_window(gimp, gimp.share / "astronaut-24.tif") as window:
        seconds_to_open = []
        for _ in range(_RUNS + 1):
            window.prepare(_NOTE_TIMES)
            window.choose("Protect Face", test_window.DIALOG)
            shown_at = window.ask_until(_TIMES, lambda found: "photo" in found)["photo"]
            (process,) = _list_plug_ins(window)
            seconds_to_open.append(shown_at - _read_start_time(process.pid))
            if len(seconds_to_open) <= _RUNS:
                window.dismiss()
        # The first time, GIMP and GTK fill their caches.
        yield Figure("dialog to the photo with its faces, warm, 24 MP", "s", 2, tuple(seconds_to_open[1:]))

        def time_order(order: str, keys: set[str]) -> dict[str, float]:
            window.ask(order)
            times = window.ask_until(_TIMES, lambda found: keys <= set(found))
            return {name: times[name] - times["began"] for name in keys}

        quick_seconds = [time_order(_QUICK.format(seed), {"meter"})["meter"] for seed in range(1, _RUNS + 1)]
        yield Figure("quick preview with meter, 24 MP", "s", 6, tuple(quick_seconds))
        amounts = [time_order(_AMOUNT.format(10 * number), {"picture", "meter"}) for number in range(3, 10)]
        yield Figure("preview drawn anew by another amount", "s", 0.3, tuple(a["picture"] for a in amounts))
        yield Figure("meter of another amount", "s", 1.5, tuple(a["meter"] for a in amounts))
    for photo, label in (("astronaut-50.tif", "50 MP"), ("astronaut-face.tif", "50 MP, all of it a face")):
        with test_window.open_window(gimp, gimp.share / photo) as window:
            window.open_dialog()
            with _watch_memory(partial(_list_plug_ins, window)) as peaks, _watch_worker_memory(location) as worker:
                window.ask(f"config.set_property('steps', {_STEPS}); find_button('Search in full').clicked()")
                window.ask_until("found['measured'] = bool(find_figures())", lambda found: bool(found["measured"]))
                window.protect()
        yield Figure(
            f"plug-in's process with dialog, preview and result, {label}", "MB", 150, (max(peaks.values()) / 1e6,)
        )
        yield Figure(f"worker meanwhile, {label}", "MB", 1400, (max(worker) / 1e6,))
    (gimp.share / "notes.jsonl").unlink(missing_ok=True)


def _read_start_time(pid: int) -> float:
    """When a process started, in seconds since the epoch; psutil's time is off by up to a second."""
    clock_ticks = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - clock_ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _list_plug_ins(window: test_window.Window) -> list[psutil.Process]:
    return find_plug_in_processes(window.gimp.share / "profile-window" / "plug-ins" / "protect-face")


def _measure_gimp210(gimp: Gimp210) -> Iterator[Figure]:
    first, overhead, memory = zip(*(_measure_run_210(gimp) for _ in range(_RUNS)), strict=True)
    yield Figure("GIMP 2.10: call to first progress, warm", "s", 0.5, first)
    yield Figure("GIMP 2.10: overhead outside of the search, 24 MP", "s", 1.5, overhead)
    yield Figure("GIMP 2.10: plug-in's process, 24 MP of 8 bits", "MB", 150, memory)


def _add_probe(plug_in: Path) -> None:
    with (plug_in / "worker_client" / "client.py").open("a", encoding="utf-8") as module:
        module.write(_PROBE)


def _write_photos(share: Path) -> None:
    """Write portraits of the astronaut of 24 and 50 megapixels, and one of her face only."""
    portrait = Image.fromarray(data.astronaut())
    portrait.save(share / "astronaut.png")
    portrait.crop((152, 20, 302, 200)).save(share / "face.png")
    for source, size, name in (("astronaut", _LARGE, "24"), ("astronaut", _HUGE, "50"), ("face", _HUGE, "face")):
        make_group_photo([share / f"{source}.png"], size, share / "large.jpg")
        Image.open(share / "large.jpg").save(share / f"astronaut-{name}.tif")


def _locate_worker(gimp: Gimp) -> WorkerLocation:
    """Locate the worker for programs outside of GIMP's root folder."""
    pointer = json.loads(_use_all_cores(host.make_pointer(gimp.run_folder, in_root=False)))
    return WorkerLocation("benchmarks", pointer["command"], pointer["run"], pointer["environment"])


def _use_all_cores(pointer: str) -> str:
    """Let a pointer to the tests' worker, which leaves cores to other tests, start one that uses all cores."""
    return pointer.replace("OMP_NUM_THREADS=1", f"OMP_NUM_THREADS={os.cpu_count()}")


def _time_cold_start(location: WorkerLocation) -> float:
    worker_client.stop(location)
    start = time.monotonic()
    with worker_client.connect(client="benchmarks", location=location):
        return time.monotonic() - start


def _measure_run(
    gimp: Gimp, location: WorkerLocation, prepare: str, photo: str = "astronaut-24.tif"
) -> tuple[float, float, float, float]:
    """Seconds to the first progress, seconds outside of the search, and the plug-in's and the worker's peaks in MB."""
    script = "    import time\n" + _RUN.format(prepare=prepare, steps=_STEPS, photo=photo)
    with (
        _watch_memory(partial(find_plug_in_processes, gimp.plug_in)) as peaks,
        _watch_worker_memory(location) as worker,
    ):
        results = gimp.script_alone(script).results
    if results["status"] != "success":
        raise RuntimeError(results["error"])
    return *_read_times(gimp.share, results), max(peaks.values()) / 1e6, max(worker) / 1e6


def _measure_run_210(gimp: Gimp210) -> tuple[float, float, float]:
    """The same in GIMP 2.10."""
    with _watch_memory(partial(find_plug_in_processes, gimp.plug_in)) as peaks:
        results, _ = gimp.script_alone(_RUN_210.format(steps=_STEPS))
    return *_read_times(gimp.share, results), max(peaks.values()) / 1e6


def _read_times(share: Path, results: dict[str, Any]) -> tuple[float, float]:
    """Seconds to the first progress and seconds outside of the search, from the notes of one run, which are dropped."""
    notes = share / "notes.jsonl"
    entries = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    notes.unlink()
    first = next(moment for moment, kind, *_ in entries if kind == "progress")
    search = sum(details[0] for _, kind, *details in entries if kind == "result")
    return first - results["began"], results["ended"] - results["began"] - search


@contextmanager
def _watch_memory(find_processes: Callable[[], Iterable[psutil.Process]]) -> Iterator[dict[int, int]]:
    """The highest memory use of each process that ``find_processes`` returns, in bytes, while the block runs."""
    peaks: dict[int, int] = {}

    def sample() -> None:
        for process in find_processes():
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                peaks[process.pid] = int(status.split("VmHWM:")[1].split()[0]) * 1024

    with _repeat(sample):
        yield peaks


@contextmanager
def _watch_worker_memory(location: WorkerLocation) -> Iterator[list[int]]:
    """Sample the total memory of the worker's processes, in bytes, while the block runs."""
    sums: list[int] = []

    def sample() -> None:
        endpoint = read_endpoint(location.run_folder)
        if endpoint is None:
            return
        with suppress(psutil.Error):
            worker = psutil.Process(endpoint["pid"])
            sums.append(sum(p.memory_info().rss for p in (worker, *worker.children(recursive=True))))

    with _repeat(sample):
        yield sums


@contextmanager
def _repeat(action: Callable[[], object]) -> Iterator[None]:
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(0.02):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _time_cancel(gimp: Gimp, location: WorkerLocation) -> float:
    """Seconds from the plug-in's end, which is what GIMP's Cancel is, until the worker has nothing to do."""
    notes = gimp.share / "notes.jsonl"
    process = gimp.start("    import time\n" + _RUN.format(prepare="pass", steps=5000, photo="astronaut-24.tif"))
    while not notes.exists() or notes.read_text(encoding="utf-8").count('"progress"') < 10:
        time.sleep(0.05)
    for plug_in in find_plug_in_processes(gimp.plug_in):
        plug_in.kill()
    start = time.monotonic()
    while _fetch_status(location)["queue"]:
        time.sleep(0.02)
    seconds = time.monotonic() - start
    process.communicate(timeout=120)
    notes.unlink()
    return seconds


def _fetch_status(location: WorkerLocation) -> dict[str, Any]:
    with worker_client.connect(client="benchmarks", location=location) as worker:
        return dict(worker.submit("status").result(lambda _event: None).header)
