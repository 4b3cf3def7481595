"""What a batch will take, before it is begun: faces, time, and room on the disk."""

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
from c2p_core.errors import C2PError, NoFace, UnreadableImage

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore
    from c2p_core.photo import Photo

# Bytes beside a result of one face, as benchmarks/results/scale.json has them: its two small pictures, and its row.
_SMALL_PICTURES = 90_000
_ROW = 3_000
# Steps of the search by which a face's time is measured where none was protected yet.
_MEASURED_STEPS = 6


@dataclass(frozen=True)
class Estimate:
    """What is expected of the photos of a plan.

    Attributes:
        faces: that can be protected; None where they were not looked for.
        without: photos in which there is none.
        unreadable: photos that can't be read.
        seconds_a_face: with as many processes side by side; None where it is not known.
        pace: whether that is from earlier results of these settings or from a short search.
        seconds: that all will take on this machine; None where it is not known.
        disk: bytes that the results and the report need; ``free`` are there, None in a store of objects.
    """

    faces: int | None
    without: int
    unreadable: int
    seconds_a_face: float | None
    pace: Literal["results", "search"] | None
    seconds: float | None
    disk: int
    free: int | None

    def described(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def plan_only(
    items: Sequence[Item],
    destination: Path | str,
    job: Job,
    store: Callable[[], ModelStore] | None,
    cancel: CancelToken,
) -> tuple[Plan, Estimate]:
    """Plan a batch and tell what it will take; writes nothing.

    Args:
        items: all photos.
        destination: folder of the results, or its URL; need not exist.
        job: what is to be done; for a cluster, the estimate is of one process on this machine.
        store: opens the models, with which faces are looked for; None to look for none.
        cancel: ends the looking for faces.

    Raises:
        Cancelled: ``cancel`` was set.
        ModelUnavailable: a model is missing.
    """
    from c2p_core.batch.run import choose_settings

    settings, processes = choose_settings(job), max(1, job.processes)
    with _open_journal(destination) as (journal, reader):
        known = [] if journal is None else list(journal.known())
        earlier = Pace() if journal is None else journal.pace(settings(""), processes)
        size_ratio = (None if journal is None else journal.mean_size_ratio()) or 1.0
    plan = Results(reader, known, settings).plan(items)
    disk = round(plan.bytes * size_ratio) + (_ROW + _SMALL_PICTURES * job.thumbnails) * len(plan.pending)
    faces, without, unreadable, measured = None, 0, 0, None
    if store is not None:
        faces, without, unreadable, measured = _look(plan.pending, job, store(), earlier.faces > 0, cancel)
    a_face = earlier.seconds / earlier.faces if earlier.faces else measured
    pace: Literal["results", "search"] | None = None if a_face is None else "results" if earlier.faces else "search"
    expected = faces
    if expected is None and earlier.photos:
        expected = round(len(plan.pending) * earlier.faces / earlier.photos)
    at_once = max(1, min(processes, len(plan.pending)))
    seconds = None if a_face is None or expected is None else a_face * expected / at_once
    return plan, Estimate(faces, without, unreadable, a_face, pace, seconds, disk, _find_free(destination))


def find_free_space(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def describe_estimate(estimate: Estimate, photos: int) -> Iterator[str]:
    """The estimate in sentences."""
    from c2p_core.batch.words import count, describe_size, describe_time

    if estimate.faces is not None:
        rest = f"; {count(estimate.without, 'photo')} without" if estimate.without else ""
        bad = f"; {count(estimate.unreadable, 'photo')} can't be read" if estimate.unreadable else ""
        usable = count(photos - estimate.without - estimate.unreadable, "photo")
        yield f"{count(estimate.faces, 'face')} to protect in {usable}{rest}{bad}."
    if estimate.seconds is not None and estimate.seconds_a_face is not None:
        spent = describe_time(estimate.seconds)
        how = "as earlier results took" if estimate.pace == "results" else "measured on one of them"
        yield f"Time expected on this machine: {spent} ({estimate.seconds_a_face:.0f} s a face, {how})."
    else:
        yield "Time expected: not known before faces are looked for."
    if estimate.free is None:
        yield f"Storage needed: {describe_size(estimate.disk)}."
        return
    short = " That is too little." if estimate.disk > estimate.free else ""
    yield f"Disk needed: {describe_size(estimate.disk)}; {describe_size(estimate.free)} are free.{short}"


@contextmanager
def _open_journal(destination: Path | str) -> Iterator[tuple[Journal | None, ResultReader]]:
    """The journal, None where there is none yet, and where its results are."""
    from c2p_core.batch.run import JOURNAL

    if isinstance(destination, str):
        from c2p_core.batch.store_folder import peek_store_folder

        with peek_store_folder(destination) as found:
            yield found
        return
    path, reader = destination / STATE_FOLDER / JOURNAL, FolderReader(destination)
    if not path.exists():
        yield None, reader
        return
    with closing(Journal(path, read_only=True)) as journal:
        yield journal, reader


def _find_free(destination: Path | str) -> int | None:
    return None if isinstance(destination, str) else find_free_space(destination)


def _look(
    items: Sequence[Item], job: Job, store: ModelStore, known_pace: bool, cancel: CancelToken
) -> tuple[int, int, int, float | None]:
    """Faces that will be protected, photos without one and unreadable ones, and seconds a face, if not known."""
    from c2p_core.faces import find_faces
    from c2p_core.io import photo_files

    faces = without = unreadable = 0
    measured = None
    for item in items:
        cancel.raise_if_cancelled()
        try:
            photo = photo_files.parse(item.path, read_photo(item.path)[0])
        except UnreadableImage:
            unreadable += 1
            continue
        count = _count_chosen(item, ProtectRequest(photo, **job.options), find_faces(photo, store), job)
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
            job.looks.learn(item.path, None)
            if chosen is None:
                return 0
            request = chosen
        return len(choose_faces(faces, request.faces, []))
    except NoFace:
        return 0


@contextmanager
def _shared_cores(processes: int) -> Iterator[None]:
    """Compute with the share of the cores that each of so many processes will have."""
    if processes == 1:
        yield
        return
    import torch

    from c2p_core.batch.processes import share_cores

    before = torch.get_num_threads()
    torch.set_num_threads(share_cores(processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_face(photo: Photo, options: Mapping[str, Any], store: ModelStore, cancel: CancelToken) -> float | None:
    """Seconds that a face takes, from the first steps of a search; None where it can't be searched."""
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
    except C2PError:
        cancel.raise_if_cancelled()
        return None
    ended = time.monotonic()
    prepared = next(at for stage, at in times if stage == "prepare")
    searched = [at for stage, at in times if stage == "search"]
    a_step = median(after - before for before, after in zip(searched, [*searched[1:], ended], strict=True))
    return searched[0] - prepared + steps * a_step
