"""What a batch on several machines is limited by: workers, the one writer, the messages, the storage.

Rates are of this machine; ``report.scale`` says what a million photos would take by them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data import CHECKOUT
from benchmarks.fingerprint import fingerprint_code
from benchmarks.recognisers import open_store as open_models
from benchmarks.rows import SCALE_FILE
from benchmarks.suites.cost import group_photo
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
from c2p_core.subjects import Found, find_subjects

MEGAPIXELS = 6.0
WORKERS = (1, 2)
_JOB = Job({"faces": "all", "prompt": "scale"}, thumbnails=False)


@dataclass(frozen=True)
class Workers:
    """A shoot on a Ray cluster of this machine.

    Attributes:
        workers: of one core each.
        photos, faces: protected.
        steps: of the search a face; None for the default.
        seconds: of the batch, with the start of the cluster and the loading of models.
        between: seconds a photo from the first result of each worker to the last: without either.
        search_seconds: sum over the faces.
    """

    workers: int
    photos: int
    faces: int
    steps: int | None
    seconds: float
    between: float
    search_seconds: float


@dataclass(frozen=True)
class Stages:
    """Seconds that a photo of one face takes beside its search, on one core; medians of a few.

    Attributes:
        read: reading and decoding. ``detect``: finding the face. ``finish``: pasting, measuring, encoding, thumbnails.
        photo_bytes, result_bytes: of the files.
        row_bytes: of its line in the journal.
    """

    read: float
    detect: float
    finish: float
    photo_bytes: int
    result_bytes: int
    row_bytes: int


@dataclass(frozen=True)
class Rates:
    """Photos a second that the parts beside the workers take.

    Attributes:
        rows: results of one byte and their rows into a folder, with the disk waited for.
        results: the same with results as they are.
        objects: the same into a server on this machine that speaks S3, moto's, written in Python; None without it.
        messages: photos and results of these sizes to two Ray actors and back that do nothing else.
    """

    rows: float
    results: float
    objects: float | None
    messages: float


def run(faces: Sequence[Path], rows: Path, photos: int, steps: int | None, say: Callable[[str], None]) -> Path:
    """Measure, and write the figures.

    Args:
        faces: portraits that photos of one face each are made of.
        rows: folder of the figures.
        photos: of the shoot, by which workers are compared.
        steps: of the search a face, None for the default.
        say: told each figure.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "shoot").mkdir()
        for number in range(photos):
            group_photo([faces[number % len(faces)]], MEGAPIXELS, folder / "shoot" / f"IMG_{number:04}.jpg")
        shoot = sorted((folder / "shoot").iterdir())
        stages, outcome = measure_stages(shoot[:5])
        say(str(stages))
        rates = measure_rates(outcome, folder)
        say(str(rates))
        compared = []
        for count in WORKERS:
            compared.append(measure_workers(folder / "shoot", folder / f"out-{count}", count, steps))
            say(str(compared[-1]))
    ratio = compared[0].between / compared[-1].between
    say(f"Two workers are {ratio:.2f} times as fast as one.")
    found = {
        "code": fingerprint_code(),
        "cores": os.cpu_count(),
        "megapixels": MEGAPIXELS,
        "workers": [asdict(one) for one in compared],
        "ratio": round(ratio, 3),
        "stages": asdict(stages),
        "rates": asdict(rates),
    }
    rows.mkdir(parents=True, exist_ok=True)
    path = rows / SCALE_FILE
    write_whole(path, (json.dumps(found, indent=2) + "\n").encode())
    return path


def measure_workers(shoot: Path, out: Path, workers: int, steps: int | None) -> Workers:
    """Run the command with so many workers of one core each."""
    words = ["batch", str(shoot), "-o", str(out), "--json", "--no-report", "--device", "cpu"]
    words += [
        "--engine",
        "ray",
        "--address",
        "local",
        "--jobs",
        str(workers),
        "--cores",
        "1",
        *(("--steps", str(steps)) if steps else ()),
    ]
    told = subprocess.run(
        [sys.executable, "-m", "c2p_core", *words], stdout=subprocess.PIPE, check=True, env=_environment()
    )
    summary = json.loads(told.stdout)
    with batch_run.open_folder(out) as folder:
        times = sorted(row.finished for row in folder.journal.rows() if row.state == "done")
    between = (times[-1] - times[workers - 1]) / (len(times) - workers)
    return Workers(
        workers,
        summary["protected"],
        summary["faces"],
        steps,
        summary["seconds"],
        round(between, 3),
        summary["search_seconds"],
    )


def measure_stages(photos: Sequence[Path]) -> tuple[Stages, Outcome]:
    """Time what is done to photos beside the search; and the outcome of the last one."""
    import torch

    torch.set_num_threads(1)
    store, warm = open_models(), WarmModels()
    times: list[tuple[float, float, float]] = []
    for path in (photos[0], *photos):  # the first one loads the models
        began = time.perf_counter()
        data, stamp = read_photo(str(path))
        photo = photo_files.parse(path, data)
        read = time.perf_counter()
        request = ProtectRequest(photo, device="cpu", steps=1)
        faces, subjects = find_subjects(request, store, [])
        detected = time.perf_counter()
        found = Found(faces, tuple(subjects), ())
        direction = find_direction(request, store=store, warm=warm, found=found)
        searched = time.perf_counter()
        result = apply_direction(direction, AS_FOUND)
        encoded = photo_files.encode_as(path, result.photo)
        make_thumbnails(photo, result.photo, [face.box for face in result.faces])
        times.append((read - began, detected - read, time.perf_counter() - searched))
        told = report.photo_report(path, None, result.faces, result.warnings, direction.request, result.stronger)
        outcome = Outcome(Item(0, str(path), path.name), "done", "0" * 64, stamp, told, encoded.data, None, 1, 1.0)
    read, detect, finish = (round(median(column), 3) for column in zip(*times[1:], strict=True))
    assert outcome.data is not None
    with tempfile.TemporaryDirectory() as scratch, batch_run.open_folder(Path(scratch)) as folder:
        row = folder.make_recorder(folder.path, folder.journal, lambda path: "0" * 64).record(outcome)
    return Stages(read, detect, finish, len(data), len(outcome.data), len(format_row(row))), outcome


def measure_rates(outcome: Outcome, folder: Path) -> Rates:
    """Measure the writer and the messages with an outcome."""
    return Rates(
        _time_writer(replace(outcome, data=b"\0"), str(folder / "rows"), 500),
        _time_writer(outcome, str(folder / "results"), 100),
        _time_objects(outcome),
        _time_messages(outcome, 200),
    )


def _time_writer(outcome: Outcome, destination: str, count: int) -> float:
    """Results a second that the recorder writes into a folder or a store."""
    from c2p_core.commands.batch import open_destination

    place = destination if "://" in destination else Path(destination)
    with open_destination(place) as folder:
        recorder = folder.make_recorder(folder.path, folder.journal, lambda path: "0" * 64)
        began = time.perf_counter()
        for number in range(count):
            item = Item(number, f"{outcome.item.path}-{number}", f"{number // 1000}/{number}.jpg")
            recorder.record(replace(outcome, item=item, digest=f"{number:064x}"))
        return round(count / (time.perf_counter() - began), 1)


def _time_objects(outcome: Outcome) -> float | None:
    try:
        from tests.batch.stores import serve_s3
    except ImportError:  # the server comes with the extra for tests
        return None
    home = os.environ.get("C2P_HOME")
    with tempfile.TemporaryDirectory() as scratch, serve_s3() as bucket:
        os.environ["C2P_HOME"] = scratch
        try:
            return _time_writer(outcome, f"{bucket}/out", 100)
        finally:
            del os.environ["C2P_HOME"]
            if home is not None:
                os.environ["C2P_HOME"] = home


def _time_messages(outcome: Outcome, count: int) -> float:
    """Photos a second through two Ray actors that send back what an outcome has."""
    os.environ |= _environment()
    assert outcome.data is not None
    items = [replace(outcome.item, number=number) for number in range(count)]
    control = Control(open_models, CancelToken())
    engine = protect_on_ray(Cluster("local", jobs=2, cores=1), echo)
    times = [time.perf_counter() for _ in engine(items, _JOB, control)]
    return round((count - 2) / (times[-1] - times[1]), 1)


def echo(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """An engine that sends back each photo as its own result."""
    for item in items:
        data, stamp = control.read(item)
        yield Outcome(item, "done", "", stamp, {}, data)


def _environment() -> dict[str, Any]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT), str(CHECKOUT / "plugin"), *sys.path))}
