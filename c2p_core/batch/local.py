"""The engine of this process: one thread reads and detects, one searches, one pastes, measures and encodes.

The search is what takes time. While it works on a photo, the next one is read and its faces are found, and the one
before is finished; queues of one photo between the threads keep the memory that this takes bounded.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from c2p_core import pipeline
from c2p_core.api import Progress, ProtectRequest, ProtectResult
from c2p_core.batch.engine import Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.thumbnails import make_thumbnails
from c2p_core.direction import Direction, apply_direction, work_where_it_fits
from c2p_core.errors import Cancelled, Message, NoFace
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.faces.select import choose_faces
from c2p_core.io import photo_files, report
from c2p_core.io.source_type import choose_source_type
from c2p_core.models.loaded import WarmModels
from c2p_core.photo import Photo
from c2p_core.photo_file import describe_failure
from c2p_core.signals import Interrupted
from c2p_core.subjects import DetectedFaces, find_subjects

_ENDED = object()


@dataclass(frozen=True)
class _Read:
    """A photo whose faces were found."""

    item: Item
    digest: str
    stamp: tuple[int, int]
    photo: Photo
    found: DetectedFaces


@dataclass(frozen=True)
class _Searched:
    """A photo whose search is finished."""

    read: _Read
    direction: Direction


@dataclass(frozen=True)
class _Fatal:
    """What ended a thread and ends the run."""

    error: BaseException


class _Stopped(Exception):
    """Whoever takes the outcomes has gone."""


def protect_here(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Protect photos in this process; an ``engine.Engine``."""
    return _Line(job, control, WarmModels()).run(items)


def keep_models() -> Engine:
    """The same engine with models that stay loaded from one run to the next."""
    warm = WarmModels()
    return lambda items, job, control: _Line(job, control, warm).run(items)


class _Line:
    """The three threads and the queues between them."""

    def __init__(self, job: Job, control: Control, warm: WarmModels) -> None:
        self._job = job
        self._control = control
        self._store = control.store()
        self._warm = warm
        # Of the thread that finishes: what the search keeps loaded is not to be touched meanwhile.
        self._warm_processor = WarmModels()
        self._gone = threading.Event()
        self._read: queue.Queue[Any] = queue.Queue(1)
        self._searched: queue.Queue[Any] = queue.Queue(1)
        self._outcomes: queue.Queue[Any] = queue.Queue(1)

    def run(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        # Torch shares out its threads by the thread that asks: the search keeps all cores but those it leaves idle.
        cores = torch.get_num_threads()
        stages = (
            lambda: self._read_all(items),
            lambda: self._search_all(cores),
            self._finish_all,
        )
        threads = [threading.Thread(target=self._guard, args=(stage,), daemon=True) for stage in stages]
        for thread in threads:
            thread.start()
        try:
            while (outcome := self._take(self._outcomes)) is not _ENDED:
                if isinstance(outcome, _Fatal):
                    raise outcome.error
                yield outcome
        except Interrupted:
            # Whoever wants it at once does not wait for a search to end.
            self._gone.set()
            raise
        except BaseException:
            self._control.cancel.cancel()
            self._gone.set()
            for thread in threads:
                thread.join()
            raise
        for thread in threads:
            thread.join()

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except _Stopped:
            return
        except BaseException as error:
            self._put(self._outcomes, _Fatal(error))

    def _put(self, place: queue.Queue[Any], thing: object) -> None:
        while not self._gone.is_set():
            try:
                place.put(thing, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _Stopped

    def _take(self, place: queue.Queue[Any]) -> Any:
        # With a time limit, for a wait without one would keep Ctrl-C from being noticed on Windows.
        while not self._gone.is_set():
            try:
                return place.get(timeout=0.2)
            except queue.Empty:
                continue
        raise _Stopped

    def _read_all(self, items: Iterable[Item]) -> None:
        _use_cores(1)
        for item in items:
            if self._control.cancel.cancelled:
                break
            outcome = self._attempt(item, partial(self._read_one, item))
            self._put(self._outcomes if isinstance(outcome, Outcome) else self._read, outcome)
        self._put(self._read, _ENDED)

    def _read_one(self, item: Item) -> _Read | Outcome:
        data, stamp = self._control.read(item)
        digest = hashlib.sha256(data).hexdigest()
        reuse = self._control.reuse(item, digest)
        if reuse is not None:
            return Outcome(item, "known", digest, stamp, reuse=reuse)
        try:
            photo = photo_files.parse(item.path, data)
            photo_files.check_target(Path(item.place), photo)
            self._control.tell(item, Progress("detect"))
            request = self._request(photo)
            if self._job.looks is not None:
                request = replace(request, faces="all")
            warnings: list[Message] = []
            faces, subjects = find_subjects(request, self._store, warnings)
        except Exception as error:
            return self._failed(item, error, digest, stamp)
        return _Read(item, digest, stamp, photo, DetectedFaces(faces, tuple(subjects), tuple(warnings)))

    def _search_all(self, cores: int) -> None:
        _use_cores(cores)
        while (read := self._take(self._read)) is not _ENDED:
            if self._control.cancel.cancelled:
                continue
            try:
                searched = self._attempt(read.item, partial(self._search_one, read), read.digest, read.stamp)
            except Cancelled:
                continue
            if isinstance(searched, Outcome):
                self._learn(read.item, None)
            self._put(self._outcomes if isinstance(searched, Outcome) else self._searched, searched)
        self._put(self._searched, _ENDED)

    def _search_one(self, read: _Read) -> _Searched:
        request, found = self._request(read.photo), read.found
        if self._job.looks is not None:
            chosen = self._job.looks.choose(read.item.path, request, found.faces)
            if chosen is None:
                raise NoFace("no-face-chosen")
            request, warnings = chosen, list(found.warnings)
            numbers = {face.number for face in choose_faces(found.faces, request.faces, warnings)}
            subjects = tuple(subject for subject in found.subjects if subject.face.number in numbers)
            found = DetectedFaces(found.faces, subjects, tuple(warnings))
        direction = pipeline.find_direction(
            request,
            progress=lambda progress: self._control.tell(read.item, progress),
            cancel=self._control.cancel,
            store=self._store,
            warm=self._warm,
            detected=found,
        )
        return _Searched(read, direction)

    def _finish_all(self) -> None:
        _use_cores(1)
        while (searched := self._take(self._searched)) is not _ENDED:
            read = searched.read
            work = partial(self._finish_one, searched)
            self._put(self._outcomes, self._attempt(read.item, work, read.digest, read.stamp))
        self._put(self._outcomes, _ENDED)

    def _finish_one(self, searched: _Searched) -> Outcome:
        read, direction = searched.read, searched.direction
        try:
            result = work_where_it_fits(direction, self._warm_processor, _apply)
        except Exception:
            self._learn(read.item, None)
            raise
        self._learn(read.item, result)
        place = Path(read.item.place)
        term = choose_source_type(result.generated) if self._job.mark else None
        encoded = photo_files.encode_as(place, result.photo, personal=not self._job.strip_personal, source_type=term)
        warnings = result.warnings + encoded.warnings
        told = report.photo_report(
            read.item.path, None, result.faces, warnings, direction.request, result.stronger, result.computation
        )
        told |= report.describe_metadata(encoded.source_type, ()) | {"processes": self._job.processes}
        protected = [face for face in result.faces if face.similarities]
        small = (
            make_thumbnails(read.photo, result.photo, [face.box for face in protected])
            if self._job.thumbnails
            else None
        )
        seconds = sum(face.seconds for face in protected)
        return Outcome(read.item, "done", read.digest, read.stamp, told, encoded.data, small, len(protected), seconds)

    def _learn(self, item: Item, result: ProtectResult | None) -> None:
        if self._job.looks is not None:
            self._job.looks.learn(item.path, result)

    def _request(self, photo: Photo) -> ProtectRequest:
        return ProtectRequest(photo, **self._job.options)

    def _attempt(self, item: Item, work: Callable[[], Any], digest: str = "", stamp: tuple[int, int] = (-1, -1)) -> Any:
        """What the work returns, or the outcome of a photo that failed alone."""
        try:
            return work()
        except Exception as error:
            return self._failed(item, error, digest, stamp)

    def _failed(self, item: Item, error: Exception, digest: str, stamp: tuple[int, int]) -> Outcome:
        if isinstance(error, NoFace):
            told = report.failure_report(item.path, error.message, error.exit_code)
            return Outcome(item, "without-face", digest, stamp, told)
        message, code = describe_failure(error)
        return Outcome(item, "failed", digest, stamp, report.failure_report(item.path, message, code))


def _use_cores(count: int) -> None:
    """Set how many threads torch uses for what this thread asks of it."""
    # Asking makes it take the number that another thread set last, which it would else do later.
    torch.get_num_threads()
    torch.set_num_threads(count)


def _apply(direction: Direction) -> ProtectResult:
    return apply_direction(direction, AS_FOUND)
