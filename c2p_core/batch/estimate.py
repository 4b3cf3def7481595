"""Estimates what a batch will take, before it is started: faces, time, and disk space."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from c2p_core.api import CancelToken, Face, Progress, ProtectRequest
from c2p_core.batch.engine import Job
from c2p_core.batch.journal import Journal, Pace
from c2p_core.batch.layout import Item
from c2p_core.batch.planning import Plan, Results
from c2p_core.batch.reading import read_photo
from c2p_core.batch.result_readers import FolderReader, ResultReader
from c2p_core.batch.sources import STATE_FOLDER
from c2p_core.errors import C2PError, NoFace
from c2p_core.photo_file import describe_failure

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore
    from c2p_core.photo import Photo

# Bytes besides a result of one face, as in benchmarks/results/scale.json: its two small pictures, and its row.
_THUMBNAIL_BYTES = 90_000
_ROW_BYTES = 3_000
# Steps of the search that measures the time of a face if none was protected yet.
_MEASURED_STEPS = 6


@dataclass(frozen=True)
class Estimate:
    """The estimate for the photos of a plan.

    Attributes:
        faces: number that can be protected; None if they were not looked for.
        without: photos without a face.
        unreadable: photos that can't be read.
        seconds_a_face: with the processes of the batch in parallel; None if unknown.
        pace: whether that is from earlier results with these settings or from a short search.
        seconds: total time on this machine; None if unknown.
        disk: bytes that the results and the report need.
        free: bytes that are free; None in a store of objects.
    """

    faces: int | None
    without: int
    unreadable: int
    seconds_a_face: float | None
    pace: Literal["results", "search"] | None
    seconds: float | None
    disk: int
    free: int | None

    def as_json(self) -> dict[str, Any]:
        """The estimate as JSON values."""
        return asdict(self)


def plan_and_estimate(
    items: Sequence[Item],
    destination: Path | str,
    job: Job,
    store: Callable[[], ModelStore] | None,
    cancel: CancelToken,
) -> tuple[Plan, Estimate]:
    """Plan a batch and estimate what it will take; writes nothing.

    Args:
        items: all photos.
        destination: folder of the results, or its URL; need not exist.
        job: settings of the batch; for a cluster, the estimate is for one process on this machine.
        store: opens the models that detect faces; None to skip detection.
        cancel: stops the detection.

    Raises:
        Cancelled: ``cancel`` was set.
        ModelUnavailable: a model is missing.
    """
    from c2p_core.batch.run import make_settings_digester

    digest_settings, processes = make_settings_digester(job), max(1, job.processes)
    with _open_journal(destination) as (journal, reader):
        known = [] if journal is None else list(journal.read_known())
        earlier_pace = Pace() if journal is None else journal.read_pace(digest_settings(""), processes)
        size_ratio = (None if journal is None else journal.mean_size_ratio()) or 1.0
    plan = Results(reader, known, digest_settings).plan(items)
    disk = round(plan.bytes * size_ratio) + (_ROW_BYTES + _THUMBNAIL_BYTES * job.thumbnails) * len(plan.pending)
    faces, without, unreadable, measured = None, 0, 0, None
    if store is not None:
        faces, without, unreadable, measured = _survey(plan.pending, job, store(), earlier_pace.faces > 0, cancel)
    seconds_a_face = earlier_pace.seconds / earlier_pace.faces if earlier_pace.faces else measured
    pace: Literal["results", "search"] | None = (
        None if seconds_a_face is None else "results" if earlier_pace.faces else "search"
    )
    expected_faces = faces
    if expected_faces is None and earlier_pace.photos:
        expected_faces = round(len(plan.pending) * earlier_pace.faces / earlier_pace.photos)
    parallel = max(1, min(processes, len(plan.pending)))
    seconds = None if seconds_a_face is None or expected_faces is None else seconds_a_face * expected_faces / parallel
    free = None if isinstance(destination, str) else find_free_space(destination)
    return plan, Estimate(faces, without, unreadable, seconds_a_face, pace, seconds, disk, free)


def find_free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def describe_estimate(estimate: Estimate, photos: int) -> Iterator[str]:
    """The estimate in sentences."""
    from c2p_core.batch.formatting import format_count, format_duration, format_size

    if estimate.faces is not None:
        without_note = f"; {format_count(estimate.without, 'photo')} without" if estimate.without else ""
        unreadable_note = f"; {format_count(estimate.unreadable, 'photo')} can't be read" if estimate.unreadable else ""
        usable = format_count(photos - estimate.without - estimate.unreadable, "photo")
        yield f"{format_count(estimate.faces, 'face')} to protect in {usable}{without_note}{unreadable_note}."
    if estimate.seconds is not None and estimate.seconds_a_face is not None:
        duration = format_duration(estimate.seconds)
        basis = "as earlier results took" if estimate.pace == "results" else "measured on one of them"
        yield f"Time expected on this machine: {duration} ({estimate.seconds_a_face:.0f} s a face, {basis})."
    else:
        yield "Time expected: not known before faces are looked for."
    if estimate.free is None:
        yield f"Storage needed: {format_size(estimate.disk)}."
        return
    shortage_note = " That is too little." if estimate.disk > estimate.free else ""
    yield f"Disk needed: {format_size(estimate.disk)}; {format_size(estimate.free)} are free.{shortage_note}"


@contextmanager
def _open_journal(destination: Path | str) -> Iterator[tuple[Journal | None, ResultReader]]:
    """The journal, None if there is none yet, and a reader of its results."""
    from c2p_core.batch.run import JOURNAL

    if isinstance(destination, str):
        from c2p_core.batch.store_folder import peek_store_folder

        with peek_store_folder(destination) as journal_and_reader:
            yield journal_and_reader
        return
    path, reader = destination / STATE_FOLDER / JOURNAL, FolderReader(destination)
    if not path.exists():
        yield None, reader
        return
    with closing(Journal(path, read_only=True)) as journal:
        yield journal, reader


def _survey(
    items: Sequence[Item], job: Job, store: ModelStore, known_pace: bool, cancel: CancelToken
) -> tuple[int, int, int, float | None]:
    """Count faces to protect, photos without one and unreadable ones; measure a face if the pace is unknown."""
    from c2p_core.faces import find_faces
    from c2p_core.io import photo_files

    faces = without = unreadable = 0
    measured = None
    for item in items:
        cancel.raise_if_cancelled()
        try:
            photo = photo_files.parse(item.path, read_photo(item.path)[0])
            detected = find_faces(photo, store)
        except Exception as error:
            # As in the batch itself, in which such a photo fails alone; what concerns all photos is raised again.
            describe_failure(error)
            unreadable += 1
            continue
        count = _count_chosen(item, ProtectRequest(photo, **job.options), detected, job)
        faces += count
        without += not count
        if count and measured is None and not known_pace:
            with _shared_cores(max(1, job.processes)):
                measured = measure_face(photo, job.options, store, cancel)
    return faces, without, unreadable, measured


def _count_chosen(item: Item, request: ProtectRequest, faces: Sequence[Face], job: Job) -> int:
    """How many of the faces of a photo would be protected."""
    from c2p_core.faces.select import choose_faces

    try:
        if job.looks is not None:
            chosen = job.looks.choose(item.path, request, faces)
            if chosen is None:
                return 0
            request = chosen
        return len(choose_faces(faces, request.faces, []))
    except NoFace:
        return 0


@contextmanager
def _shared_cores(processes: int) -> Iterator[None]:
    """Use the share of the cores that each of ``processes`` will have."""
    if processes == 1:
        yield
        return
    import torch

    from c2p_core.batch.processes import share_cores

    threads = torch.get_num_threads()
    torch.set_num_threads(share_cores(processes))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def measure_face(photo: Photo, options: Mapping[str, Any], store: ModelStore, cancel: CancelToken) -> float | None:
    """Seconds that a face takes, from the first steps of a search; None if it can't be searched."""
    from c2p_core import pipeline
    from c2p_core.models.loaded import WarmModels
    from c2p_core.search import SearchSettings

    steps = options.get("steps") or SearchSettings().steps
    times: list[tuple[str, float]] = []

    def watch(progress: Progress) -> None:
        times.append((progress.stage, time.monotonic()))

    request = ProtectRequest(photo, **{**options, "faces": "largest", "steps": min(steps, _MEASURED_STEPS)})
    try:
        pipeline.find_direction(request, progress=watch, cancel=cancel, store=store, warm=WarmModels())
    except Exception as error:
        cancel.raise_if_cancelled()
        if not isinstance(error, C2PError):
            describe_failure(error)  # raises it again for debugging
        return None
    end = time.monotonic()
    prepare_time = next(timestamp for stage, timestamp in times if stage == "prepare")
    step_times = [timestamp for stage, timestamp in times if stage == "search"]
    seconds_per_step = median(after - before for before, after in zip(step_times, [*step_times[1:], end], strict=True))
    return step_times[0] - prepare_time + steps * seconds_per_step
