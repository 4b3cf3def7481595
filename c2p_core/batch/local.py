"""The engine of this process: one thread reads and detects, one searches, one pastes, measures and encodes.

The search takes the most time. While it works on a photo, the next one is read and its faces are detected, and the
previous one is finished; queues of one photo between the threads bound the memory.
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
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.looks import TracesByPerson
from c2p_core.batch.thumbnails import make_thumbnails
from c2p_core.direction import Direction, apply_direction, work_where_it_fits
from c2p_core.errors import Cancelled, Message, NoFace
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.faces.select import choose_faces
from c2p_core.io import photo_files, report
from c2p_core.io.sidecars import Turn, find_turn
from c2p_core.io.source_type import choose_source_type
from c2p_core.models.loaded import WarmModels
from c2p_core.photo import Photo
from c2p_core.photo_file import describe_failure
from c2p_core.signals import Interrupted
from c2p_core.subjects import DetectedFaces, find_subjects

_END = object()


@dataclass(frozen=True)
class _DetectedPhoto:
    """A photo whose faces were detected."""

    item: Item
    digest: str
    stamp: tuple[int, int]
    photo: Photo
    detection: DetectedFaces


@dataclass(frozen=True)
class _SearchedPhoto:
    """A photo whose search is finished."""

    detected: _DetectedPhoto
    direction: Direction


@dataclass(frozen=True)
class _FatalError:
    """An error that ended a thread and ends the run."""

    error: BaseException


class _Stopped(Exception):
    """The consumer of the outcomes is gone."""


def protect_here(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Protect photos in this process; an ``engine.Engine``."""
    return _Pipeline(job, control).run(items)


class _Pipeline:
    """The three threads and the queues between them."""

    def __init__(self, job: Job, control: Control) -> None:
        self._job = job
        self._control = control
        self._store = control.store()
        self._warm = WarmModels()
        # For the finishing thread, which must not touch the models that the search is using.
        self._warm_processor = WarmModels()
        self._stopped = threading.Event()
        self._detected: queue.Queue[Any] = queue.Queue(1)
        self._searched: queue.Queue[Any] = queue.Queue(1)
        self._outcomes: queue.Queue[Any] = queue.Queue(1)
        # Digests of the photos that were given to the search and whose outcomes are not recorded yet.
        self._unrecorded: set[str] = set()
        self._recorded = threading.Condition()

    def run(self, items: Iterable[Item]) -> Generator[Outcome, None, None]:
        # Torch has a thread count per calling thread: the search keeps all cores; the other two fill its idle times.
        cores = torch.get_num_threads()
        stages = (
            lambda: self._detect_all(items),
            lambda: self._search_all(cores),
            self._finish_all,
        )
        threads = [threading.Thread(target=self._guard, args=(stage,), daemon=True) for stage in stages]
        for thread in threads:
            thread.start()
        try:
            while (outcome := self._take(self._outcomes)) is not _END:
                if isinstance(outcome, _FatalError):
                    raise outcome.error
                yield outcome
                # Who asks for the next outcome has recorded this one.
                with self._recorded:
                    self._unrecorded.discard(outcome.digest)
                    self._recorded.notify_all()
        except Interrupted:
            # An immediate stop does not wait for a search to end.
            self._stopped.set()
            raise
        except BaseException:
            self._control.cancel.cancel()
            self._stopped.set()
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
            self._put(self._outcomes, _FatalError(error))

    def _put(self, target: queue.Queue[Any], value: object) -> None:
        while not self._stopped.is_set():
            try:
                target.put(value, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _Stopped

    def _take(self, source: queue.Queue[Any]) -> Any:
        # With a timeout: without one, Ctrl-C would not be noticed on Windows.
        while not self._stopped.is_set():
            try:
                return source.get(timeout=0.2)
            except queue.Empty:
                continue
        raise _Stopped

    def _detect_all(self, items: Iterable[Item]) -> None:
        _use_cores(1)
        for item in items:
            if self._control.cancel.cancelled:
                break
            outcome = self._attempt(item, partial(self._detect_one, item))
            self._put(self._outcomes if isinstance(outcome, Outcome) else self._detected, outcome)
        self._put(self._detected, _END)

    def _detect_one(self, item: Item) -> _DetectedPhoto | Outcome:
        data, stamp = self._control.read(item)
        digest = hashlib.sha256(data).hexdigest()
        known = self._find_known(item, digest, stamp, lambda: photo_files.parse(item.path, data))
        if known is not None:
            return known
        try:
            photo = photo_files.parse(item.path, data)
            photo_files.check_target(Path(item.place), photo)
            self._control.report_progress(item, Progress("detect"))
            request = self._make_request(photo)
            if self._job.looks is not None:
                request = replace(request, faces="all")
            warnings: list[Message] = []
            faces, subjects = find_subjects(request, self._store, warnings)
        except Exception as error:
            return self._make_failure(item, error, digest, stamp)
        return _DetectedPhoto(item, digest, stamp, photo, DetectedFaces(faces, tuple(subjects), tuple(warnings)))

    def _find_known(
        self, item: Item, digest: str, stamp: tuple[int, int], parse: Callable[[], Photo]
    ) -> Outcome | None:
        """The outcome by an earlier result of the same content; None without one."""
        reuse = self._control.find_reuse(item, digest)
        if reuse is None:
            return None
        # Only a copy of the earlier result gets sidecars of its own.
        turn = None if reuse.data is None else _find_turn(item, parse())
        return Outcome(item, "known", digest, stamp, reuse=reuse, turn=turn)

    def _search_all(self, cores: int) -> None:
        _use_cores(cores)
        while (detected := self._take(self._detected)) is not _END:
            if self._control.cancel.cancelled:
                continue
            try:
                self._await_twin(detected.digest)
                run_step = partial(self._search_one, detected)
                searched = self._attempt(detected.item, run_step, detected.digest, detected.stamp)
            except Cancelled:
                continue
            if isinstance(searched, Outcome):
                self._learn(detected.item, None)
            self._put(self._outcomes if isinstance(searched, Outcome) else self._searched, searched)
        self._put(self._searched, _END)

    def _await_twin(self, digest: str) -> None:
        """Wait until the outcome of an earlier photo of the same content is recorded."""
        with self._recorded:
            while digest in self._unrecorded:
                if self._stopped.is_set():
                    raise _Stopped
                self._control.cancel.raise_if_cancelled()
                self._recorded.wait(0.2)
            self._unrecorded.add(digest)

    def _search_one(self, detected: _DetectedPhoto) -> _SearchedPhoto | Outcome:
        # When its faces were detected, the search of the same photo under another name may not have been finished.
        known = self._find_known(detected.item, detected.digest, detected.stamp, lambda: detected.photo)
        if known is not None:
            return known
        request, detection = self._make_request(detected.photo), detected.detection
        if self._job.looks is not None:
            chosen = self._job.looks.choose(detected.item.path, request, detection.faces)
            if chosen is None:
                raise NoFace("no-face-chosen")
            find_traces = partial(self._control.find_traces, detected.item)
            request = self._job.looks.lead_away(
                detected.item.path, chosen, detection.faces, find_traces, self._control.cancel
            )
            warnings = list(detection.warnings)
            numbers = {face.number for face in choose_faces(detection.faces, request.faces, warnings)}
            subjects = tuple(subject for subject in detection.subjects if subject.face.number in numbers)
            detection = DetectedFaces(detection.faces, subjects, tuple(warnings))
        direction = pipeline.find_direction(
            request,
            progress=lambda progress: self._control.report_progress(detected.item, progress),
            cancel=self._control.cancel,
            store=self._store,
            warm=self._warm,
            detected=detection,
        )
        return _SearchedPhoto(detected, direction)

    def _finish_all(self) -> None:
        _use_cores(1)
        while (searched := self._take(self._searched)) is not _END:
            detected = searched.detected
            run_step = partial(self._finish_one, searched)
            outcome = self._attempt(detected.item, run_step, detected.digest, detected.stamp)
            if outcome.state != "done":
                self._learn(detected.item, None)
            self._put(self._outcomes, outcome)
        self._put(self._outcomes, _END)

    def _finish_one(self, searched: _SearchedPhoto) -> Outcome:
        detected, direction = searched.detected, searched.direction
        result = work_where_it_fits(direction, self._warm_processor, _apply)
        # Before the result is encoded, since the search of the next photo may be waiting for it.
        traces = self._learn(detected.item, result)
        place = Path(detected.item.place)
        source_type = choose_source_type(result.generated) if self._job.mark else None
        encoded = photo_files.encode_as(
            place, result.photo, personal=not self._job.strip_personal, source_type=source_type
        )
        warnings = result.warnings + encoded.warnings
        entry = report.photo_report(
            detected.item.path, None, result.faces, warnings, direction.request, result.stronger, result.computation
        )
        entry |= report.describe_metadata(encoded.source_type, ()) | {"processes": self._job.processes}
        protected = [face for face in result.faces if face.similarities]
        thumbnails = (
            make_thumbnails(detected.photo, result.photo, [face.box for face in protected])
            if self._job.thumbnails
            else None
        )
        seconds = sum(face.seconds for face in protected)
        return Outcome(
            detected.item,
            "done",
            detected.digest,
            detected.stamp,
            entry,
            encoded.data,
            thumbnails,
            len(protected),
            seconds,
            turn=_find_turn(detected.item, detected.photo),
            traces=traces,
        )

    def _learn(self, item: Item, result: ProtectResult | None) -> TracesByPerson:
        return {} if self._job.looks is None else self._job.looks.learn(item.path, result)

    def _make_request(self, photo: Photo) -> ProtectRequest:
        return ProtectRequest(photo, **self._job.options)

    def _attempt(self, item: Item, work: Callable[[], Any], digest: str = "", stamp: tuple[int, int] = (-1, -1)) -> Any:
        """The return value of ``work``, or a failed outcome of this photo alone."""
        try:
            return work()
        except Exception as error:
            return self._make_failure(item, error, digest, stamp)

    def _make_failure(self, item: Item, error: Exception, digest: str, stamp: tuple[int, int]) -> Outcome:
        if isinstance(error, NoFace):
            entry = report.failure_report(item.path, error.message, error.exit_code)
            return Outcome(item, "without-face", digest, stamp, entry)
        message, code = describe_failure(error)
        return Outcome(item, "failed", digest, stamp, report.failure_report(item.path, message, code))


def _find_turn(item: Item, photo: Photo) -> Turn | None:
    return find_turn(photo, photo_files.FORMATS[Path(item.place).suffix.lower()])


def _use_cores(count: int) -> None:
    """Set how many threads torch uses for calls from this thread."""
    # The first query in a thread adopts the number that another thread set last; later, it would override ours.
    torch.get_num_threads()
    torch.set_num_threads(count)


def _apply(direction: Direction) -> ProtectResult:
    return apply_direction(direction, AS_FOUND)
