"""The limits of a batch on several machines: workers, the single writer, messages, storage.

Rates are of this machine; ``report.scale`` extrapolates them to a million photos.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.circumstances import describe_circumstances, resolve_steps
from benchmarks.data import CHECKOUT
from benchmarks.errors import NoData
from benchmarks.recognisers import open_store as open_models
from benchmarks.rows import SCALE_FILE
from benchmarks.suites.cost import make_group_photo
from c2p_core.api import CancelToken, ProtectRequest
from c2p_core.batch import run as batch_run
from c2p_core.batch.cluster import Cluster, protect_on_ray
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.reading import read_photo
from c2p_core.batch.row_lines import format_row
from c2p_core.batch.thumbnails import make_thumbnails
from c2p_core.direction import apply_direction
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.io import photo_files, report
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.loaded import WarmModels
from c2p_core.pipeline import find_direction
from c2p_core.subjects import DetectedFaces, find_subjects

MEGAPIXELS = 6.0
WORKERS = (1, 2)
_JOB = Job({"faces": "all", "prompt": "scale"})
_TIMED = 5  # photos that go through all stages


@dataclass(frozen=True)
class Workers:
    """A shoot on a Ray cluster of this machine.

    Attributes:
        workers: of one core each.
        photos, faces: protected.
        steps: of the search per face.
        seconds: of the batch, with the start of the cluster and the loading of models.
        between: seconds per photo from the first result of each worker to the last: without start and loading.
        search_seconds: sum over the faces.
    """

    workers: int
    photos: int
    faces: int
    steps: int
    seconds: float
    between: float
    search_seconds: float


@dataclass(frozen=True)
class Stages:
    """CPU seconds per photo of one face without its search, on one core; medians of a few photos.

    Attributes:
        read: reading and decoding. ``detect``: finding the face. ``finish``: pasting, measuring, encoding, thumbnails.
        photo_bytes, result_bytes: of the files; ``thumbnail_bytes`` of both small pictures.
        row_bytes: of its line in the journal.
    """

    read: float
    detect: float
    finish: float
    photo_bytes: int
    result_bytes: int
    thumbnail_bytes: int
    row_bytes: int


@dataclass(frozen=True)
class Rates:
    """Photos per second that the parts beside the workers can handle.

    Attributes:
        results: results with their small pictures and rows into a folder, as ``c2p batch`` writes them by default.
        no_report: the same without small pictures.
        rows: the same with results and small pictures of one byte.
        objects: the same as ``results`` into a server on this machine that speaks S3, moto's, written in Python; None
            without it.
        requests: number of requests to the server for each of these results; None without it.
        messages: photos and results of these sizes to two Ray actors and back that do nothing else.
    """

    results: float
    no_report: float
    rows: float
    objects: float | None
    requests: float | None
    messages: float


def run(faces: Sequence[Path], rows: Path, photos: int, steps: int | None, log: Callable[[str], None]) -> Path:
    """Measure, and write the figures.

    Args:
        faces: portraits that photos of one face each are made of.
        rows: folder of the figures.
        photos: number of photos to compare workers with, more than there are workers; 0 keeps the stored comparison.
        steps: of the search per face, None for the default.
        log: prints a line.

    Raises:
        NoData: the shoot is too small, or there is no stored comparison to keep.
    """
    path = rows / SCALE_FILE
    if photos <= max(WORKERS) and (photos or not path.is_file()):
        raise NoData("too-few-photos", workers=max(WORKERS))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "shoot").mkdir()
        for number in range(max(photos, _TIMED)):
            make_group_photo([faces[number % len(faces)]], MEGAPIXELS, folder / "shoot" / f"IMG_{number:04}.jpg")
        shoot = sorted((folder / "shoot").iterdir())
        circumstances = describe_circumstances()
        stages, outcome = measure_stages(shoot[:_TIMED])
        log(str(stages))
        rates = measure_rates(outcome, folder)
        log(str(rates))
        figures = {
            "megapixels": MEGAPIXELS,
            "parts": {**circumstances, "stages": asdict(stages), "rates": asdict(rates)},
            "workers": _compare_workers(shoot[:photos], folder, resolve_steps(steps), log)
            if photos
            else json.loads(path.read_text())["workers"],
        }
    rows.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(figures, indent=2) + "\n").encode())
    return path


def _compare_workers(shoot: Sequence[Path], folder: Path, steps: int, log: Callable[[str], None]) -> dict[str, Any]:
    circumstances, runs = describe_circumstances(), []
    for count in WORKERS:
        runs.append(measure_workers(shoot, folder / f"out-{count}", count, steps))
        log(str(runs[-1]))
    return {**circumstances, "runs": [asdict(workers) for workers in runs]}


def measure_workers(shoot: Sequence[Path], out: Path, workers: int, steps: int) -> Workers:
    """Run the command with this number of workers, of one core each."""
    arguments = ["batch", *map(str, shoot), "-o", str(out), "--json", "--no-report", "--device", "cpu"]
    arguments += ["--engine", "ray", "--address", "local", "--jobs", str(workers), "--cores", "1"]
    arguments += ["--steps", str(steps)]
    process = subprocess.run(
        [sys.executable, "-m", "c2p_core", *arguments], stdout=subprocess.PIPE, check=True, env=_make_environment()
    )
    summary = json.loads(process.stdout)
    with batch_run.open_folder(out) as folder:
        times = sorted(row.finished for row in folder.journal.read_rows() if row.state == "done")
    seconds_between = (times[-1] - times[workers - 1]) / (len(times) - workers)
    return Workers(
        workers,
        summary["protected"],
        summary["faces"],
        steps,
        summary["seconds"],
        round(seconds_between, 3),
        summary["search_seconds"],
    )


def measure_stages(photos: Sequence[Path]) -> tuple[Stages, Outcome]:
    """Measure the stages of photos without the search; also returns the outcome of the last photo."""
    import torch

    torch.set_num_threads(1)
    store, warm = open_models(), WarmModels()
    times: list[tuple[float, float, float]] = []
    for path in (photos[0], *photos):  # the first one loads the models
        start = time.process_time()
        data, stamp = read_photo(str(path))
        photo = photo_files.parse(path, data)
        read = time.process_time()
        request = ProtectRequest(photo, device="cpu", steps=1)
        faces, subjects = find_subjects(request, store, [])
        detected = time.process_time()
        found_faces = DetectedFaces(faces, tuple(subjects), ())
        direction = find_direction(request, store=store, warm=warm, detected=found_faces)
        searched = time.process_time()
        result = apply_direction(direction, AS_FOUND)
        encoded = photo_files.encode_as(path, result.photo)
        thumbnails = make_thumbnails(photo, result.photo, [face.box for face in result.faces])
        times.append((read - start, detected - read, time.process_time() - searched))
        photo_report = report.photo_report(
            path, None, result.faces, result.warnings, direction.request, result.stronger
        )
        outcome = Outcome(
            Item(0, str(path), path.name), "done", "0" * 64, stamp, photo_report, encoded.data, thumbnails, 1, 1.0
        )
    read, detect_seconds, finish = (round(median(column), 3) for column in zip(*times[1:], strict=True))
    assert outcome.data is not None
    with tempfile.TemporaryDirectory() as scratch, batch_run.open_folder(Path(scratch)) as folder:
        row = folder.make_recorder(folder.path, folder.journal, lambda path: "0" * 64).record(outcome)
    pictures = sum(map(len, thumbnails))
    return Stages(read, detect_seconds, finish, len(data), len(outcome.data), pictures, len(format_row(row))), outcome


def measure_rates(outcome: Outcome, folder: Path) -> Rates:
    """Measure the writer and the messages with an outcome that has its small pictures."""
    objects, requests = _time_objects(outcome)
    return Rates(
        results=time_writer(outcome, folder / "results", 200),
        no_report=time_writer(replace(outcome, thumbnails=None), folder / "no-report", 200),
        rows=time_writer(replace(outcome, data=b"\0", thumbnails=(b"\0", b"\0")), folder / "rows", 200),
        objects=objects,
        requests=requests,
        messages=_time_messages(outcome, 200),
    )


def time_writer(outcome: Outcome, destination: Path | str, count: int) -> float:
    """Photos per second that the first process can handle: looking up known results, writing, and journalling."""
    from c2p_core.commands.batch import open_destination

    items = [Item(number, f"{outcome.item.path}-{number}", f"{number // 1000}/{number}.jpg") for number in range(count)]
    control = Control(open_models, CancelToken(), read=lambda item: (b"", outcome.stamp))
    with open_destination(destination) as folder:
        results = batch_run.read_results(folder, batch_run.make_settings_digester(_JOB))
        summary, engine = batch_run.Summary(), partial(send_back, outcome)
        start = time.perf_counter()
        batch_run.run(folder, items, _JOB, engine, control, results, summary=summary)
        seconds = time.perf_counter() - start
    if summary.protected != count:
        raise RuntimeError(f"{count - summary.protected} of {count} results were not written")
    return round(count / seconds, 1)


def _time_objects(outcome: Outcome) -> tuple[float | None, float | None]:
    """Results per second into an object store, and requests per result."""
    try:
        from tests.batch.stores import serve_s3
    except ImportError:  # the server comes with the extra for tests
        return None, None
    count, old_home = 100, os.environ.get("C2P_HOME")
    with tempfile.TemporaryDirectory() as scratch, serve_s3() as bucket, _count_requests() as requests:
        os.environ["C2P_HOME"] = scratch
        try:
            # A single result gives the number of requests for opening and closing a store.
            time_writer(outcome, f"{bucket}/one", 1)
            overhead = len(requests)
            rate = time_writer(outcome, f"{bucket}/out", count)
            return rate, round((len(requests) - 2 * overhead) / (count - 1), 1)
        finally:
            del os.environ["C2P_HOME"]
            if old_home is not None:
                os.environ["C2P_HOME"] = old_home


def _time_messages(outcome: Outcome, count: int) -> float:
    """Photos per second through two Ray actors that send an outcome's files back."""
    os.environ |= _make_environment()
    assert outcome.data is not None
    items = [replace(outcome.item, number=number) for number in range(count)]
    control = Control(open_models, CancelToken())
    engine = protect_on_ray(Cluster("local", jobs=2, cores=1), partial(send_back, outcome))
    times = [time.perf_counter() for _ in engine(items, _JOB, control)]
    return round((count - 2) / (times[-1] - times[1]), 1)


def send_back(outcome: Outcome, items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """An engine that reads each photo, asks whether its result is known, and else returns the same result for all."""
    for item in items:
        _, stamp = control.read(item)
        digest = f"{item.number:064x}"
        reuse = control.find_reuse(item, digest)
        if reuse is not None:
            raise ValueError(f"{item.path} has a result already")
        yield replace(outcome, item=item, digest=digest, stamp=stamp)


@contextmanager
def _count_requests() -> Iterator[list[str]]:
    """Collect the log lines of requests to the tests' server."""
    requests: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: requests.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("werkzeug")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield requests
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _make_environment() -> dict[str, Any]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugin"), *sys.path))}
