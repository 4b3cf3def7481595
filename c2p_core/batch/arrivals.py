"""Photos that arrive in a folder, each as soon as it is complete, without computing anything in between."""

from __future__ import annotations

import logging
import os
import queue
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from watchdog.events import DirModifiedEvent, FileSystemEvent, FileSystemEventHandler, FileSystemMovedEvent
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from c2p_core.batch.layout import Item, choose_place, choose_place_with_full_name
from c2p_core.batch.sources import Sources, is_hidden, is_picture, scan_folder
from c2p_core.errors import CannotWrite, UnreadableImage

# Seconds after which a wait checks the folder again; on Windows, Ctrl-C is only noticed then.
_WAKE_INTERVAL = 1.0 if sys.platform == "win32" else 2.0
_POLL_INTERVAL = 2.0  # seconds, where the system reports no changes
# A rescan of very many photos takes a while; it may take this share of the time.
_MAX_RESCAN_SHARE = 0.001
# Events after which a file may have a new content or name.
_RELEVANT_EVENTS = ("created", "modified", "moved", "closed")


@dataclass
class _PendingFile:
    """A file that may still be being written."""

    stamp: tuple[int, int]
    complete_at: float


@dataclass
class Arrivals:
    """Files that arrived in a folder and were not taken yet.

    Attributes:
        folder: the watched folder, absolute.
        destination: of the results, absolute; files in it are left out.
        settle_seconds: time without a change after which a file counts as complete.
        rescan_seconds: time after which the folder is looked through for photos whose events were lost: systems drop
            events when they come faster than they are read, or while the folder is somewhere else.
        clock: monotonic seconds.
        is_there: whether the watched folder is still in its place.
    """

    folder: str
    destination: str
    settle_seconds: float = 2.0
    rescan_seconds: float = 300.0
    clock: Callable[[], float] = time.monotonic
    is_there: Callable[[], bool] = lambda: True
    # A signal handler may put into it at any time.
    _events: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _pending: dict[str, _PendingFile] = field(default_factory=dict)
    # The stamps of the files that were taken, by their paths.
    _taken: dict[str, tuple[int, int]] = field(default_factory=dict)
    _next_rescan: float = float("inf")
    _places: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self._next_rescan = self.clock() + self.rescan_seconds

    def notify(self, path: str) -> None:
        """Report a file or folder that is new or has changed; from any thread."""
        self._events.put(path)

    def wake(self) -> None:
        """Let ``wait`` return; from any thread or signal handler."""
        self._events.put(None)

    def request_rescan(self) -> None:
        """Let the folder be looked through soon, because events were lost; from any thread."""
        self._next_rescan = float("-inf")

    def wait(self) -> Item | None:
        """Wait for the next complete photo; None once ``wake`` was called.

        Raises:
            UnreadableImage: the folder was removed or renamed, or its disk was unplugged.
        """
        while True:
            if not self.is_there():
                raise UnreadableImage("watched-folder-gone", path=self.folder)
            self._rescan_if_due()
            if (item := self._take_settled()) is not None:
                return item
            remaining = min(
                (pending.complete_at - self.clock() for pending in self._pending.values()), default=_WAKE_INTERVAL
            )
            try:
                changed_path = self._events.get(timeout=min(_WAKE_INTERVAL, max(0.0, remaining)))
            except queue.Empty:
                continue
            if changed_path is None:
                return None
            self._inspect(changed_path)

    def take_ready(self) -> Iterator[Item]:
        """Yield the photos that are complete by now, without waiting for others."""
        self._rescan_if_due()
        while True:
            try:
                changed_path = self._events.get_nowait()
            except queue.Empty:
                item = self._take_settled()
                if item is None:
                    return
                yield item
                continue
            if changed_path is None:
                self.wake()  # for the next wait
                return
            self._inspect(changed_path)

    def _rescan_if_due(self) -> None:
        """Look for photos that are neither taken nor pending, if it is time."""
        start = self.clock()
        if start < self._next_rescan:
            return
        self._next_rescan = float("inf")  # before the scan, during which another may be requested
        sources = Sources(base=self.folder)
        scan_folder(self.folder, self.destination, sources)
        for source in sources.files:
            if source.path not in self._pending and self._taken.get(source.path) != (source.size, source.mtime_ns):
                self._inspect(source.path)
        end = self.clock()
        pause = max(self.rescan_seconds, (end - start) / _MAX_RESCAN_SHARE)
        self._next_rescan = min(self._next_rescan, end + pause)

    def _inspect(self, path: str) -> None:
        if self._is_excluded(path):
            return
        if os.path.isdir(path):
            # A folder may arrive with photos in it, for which there are no events.
            sources = Sources(base=path)
            scan_folder(path, self.destination, sources)
            for source in sources.files:
                self._inspect(source.path)
        elif is_picture(os.path.basename(path)) and (stamp := _read_stamp(path)) is not None:
            self._pending[path] = _PendingFile(stamp, self.clock() + self.settle_seconds)

    def _is_excluded(self, path: str) -> bool:
        relative = os.path.relpath(path, self.folder)
        if relative.startswith(os.pardir) or any(is_hidden(part) for part in Path(relative).parts if part != os.curdir):
            return True
        destination = os.path.normcase(self.destination)
        return os.path.normcase(path) == destination or os.path.normcase(path).startswith(destination + os.sep)

    def _take_settled(self) -> Item | None:
        now = self.clock()
        for path, pending in list(self._pending.items()):
            if pending.complete_at > now:
                continue
            stamp = _read_stamp(path)
            if stamp is None:
                del self._pending[path]  # renamed, for which there is an event, or gone
            elif stamp != pending.stamp or stamp[0] == 0:
                self._pending[path] = _PendingFile(stamp, now + self.settle_seconds)
            else:
                del self._pending[path]
                self._taken[path] = stamp
                self._count += 1
                return Item(self._count, path, self._choose_place(path), *stamp)
        return None

    def _choose_place(self, path: str) -> str:
        """Choose the place of a result: by the photo's name, unless another photo has that place."""
        for place in (choose_place(path, self.folder), choose_place_with_full_name(path, self.folder)):
            key = unicodedata.normalize("NFC", place.casefold())
            if self._places.setdefault(key, path) == path or not os.path.lexists(self._places[key]):
                self._places[key] = path
                break
        return place


def locate_below(destination: Path, folder: Path) -> str:
    """The absolute path of the folder of results: below the watched one if it lies there, whatever links lead to it."""
    resolved_folder, resolved_destination = folder.resolve(), destination.resolve()
    return str(
        folder.absolute() / resolved_destination.relative_to(resolved_folder)
        if resolved_destination.is_relative_to(resolved_folder)
        else destination.absolute()
    )


def _read_stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class _Handler(FileSystemEventHandler):
    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type == "deleted" and os.fsdecode(event.src_path) == self._arrivals.folder:
            # The system no longer watches it, even if another folder gets its name.
            self._arrivals.is_there = lambda: False
        # A folder is modified with every file in it, which has an event of its own.
        if event.event_type not in _RELEVANT_EVENTS or isinstance(event, DirModifiedEvent):
            return
        moved = isinstance(event, FileSystemMovedEvent)
        self._arrivals.notify(os.fsdecode(event.dest_path if moved else event.src_path))


class _LossHandler(logging.Handler):
    """Rescans after the warnings of watchdog, which reports in its log only that the system dropped events."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__(logging.WARNING)
        self._arrivals = arrivals

    def emit(self, record: logging.LogRecord) -> None:
        self._arrivals.request_rescan()


def _make_identity_check(folder: str) -> Callable[[], bool]:
    """Make a function that checks whether a folder is still the same: the system keeps watching a renamed one.

    Raises:
        OSError: the folder does not exist.
    """
    initial = os.stat(folder)

    def is_same() -> bool:
        try:
            return os.path.samestat(initial, os.stat(folder))
        except OSError:
            return False

    return is_same


@contextmanager
def watch(arrivals: Arrivals, poll: bool = False) -> Iterator[None]:
    """Notify ``arrivals`` of the content of its folder and of all changes, until the block is left.

    Args:
        arrivals: is notified.
        poll: list the folder every few seconds instead of asking the system, which does not notice changes that other
            computers make on a network drive.

    Raises:
        CannotWrite: the system can't watch the folder.
    """
    observer = PollingObserver(timeout=_POLL_INTERVAL) if poll else Observer()
    logger, loss_handler = logging.getLogger("watchdog"), _LossHandler(arrivals)
    observer.schedule(_Handler(arrivals), arrivals.folder, recursive=True)
    try:
        arrivals.is_there = partial(os.path.isdir, arrivals.folder) if poll else _make_identity_check(arrivals.folder)
        observer.start()
    except OSError as error:
        raise CannotWrite("folder-not-watched", path=arrivals.folder, reason=str(error.strerror).lower()) from error
    logger.addHandler(loss_handler)
    try:
        # After the start, so that nothing that arrives in between is missed.
        arrivals.notify(arrivals.folder)
        yield
    finally:
        observer.stop()
        observer.join()
        logger.removeHandler(loss_handler)
