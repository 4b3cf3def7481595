"""Photos that come into a folder, each as soon as it is complete; between them, nothing is computed."""

from __future__ import annotations

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

from watchdog.events import FileSystemEvent, FileSystemEventHandler, FileSystemMovedEvent
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from c2p_core.batch.layout import Item, place_of, place_with_whole_name
from c2p_core.batch.sources import Sources, is_hidden, is_picture, scan_folder
from c2p_core.errors import CannotWrite, UnreadableImage

# Seconds after which the folder is looked at again; on Windows also those in which Ctrl-C is noticed.
_LOOK_AGAIN = 1.0 if sys.platform == "win32" else 2.0
_POLL = 2.0  # seconds, where the system tells of no change
# What is done to a file that may have changed its content or name.
_TELLING = ("created", "modified", "moved", "closed")


@dataclass
class _Waiting:
    """A file that may still be being written."""

    stamp: tuple[int, int]
    until: float


@dataclass
class Arrivals:
    """What came into a folder and is not taken yet.

    Attributes:
        folder: the watched one, absolute.
        destination: of the results, absolute; what lies there is left out.
        settled: seconds without a change after which a file counts as complete.
        clock: monotonic seconds.
        is_there: whether the folder is still the one that is watched.
    """

    folder: str
    destination: str
    settled: float = 2.0
    clock: Callable[[], float] = time.monotonic
    is_there: Callable[[], bool] = lambda: True
    # Safe to be put into by a signal handler, whatever the thread was doing.
    _told: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _places: dict[str, str] = field(default_factory=dict)
    _count: int = 0

    def tell(self, path: str) -> None:
        """Say that a file or folder is new or has changed; from any thread."""
        self._told.put(path)

    def wake(self) -> None:
        """Let ``wait`` return; from any thread or signal handler."""
        self._told.put(None)

    def wait(self) -> Item | None:
        """Wait for the next complete photo; None as soon as ``wake`` was called.

        Raises:
            UnreadableImage: the folder was removed or renamed, or its disk was taken out.
        """
        while True:
            if not self.is_there():
                raise UnreadableImage("watched-folder-gone", path=self.folder)
            if (item := self._take_settled()) is not None:
                return item
            left = min((waiting.until - self.clock() for waiting in self._waiting.values()), default=_LOOK_AGAIN)
            try:
                told = self._told.get(timeout=min(_LOOK_AGAIN, max(0.0, left)))
            except queue.Empty:
                continue
            if told is None:
                return None
            self._look_at(told)

    def ready(self) -> Iterator[Item]:
        """The photos that are complete by now, without waiting for others."""
        while True:
            try:
                told = self._told.get_nowait()
            except queue.Empty:
                item = self._take_settled()
                if item is None:
                    return
                yield item
                continue
            if told is None:
                self.wake()  # for whoever waits next
                return
            self._look_at(told)

    def _look_at(self, path: str) -> None:
        if self._is_left_out(path):
            return
        if os.path.isdir(path):
            # A folder may come with photos in it, of which nobody tells.
            found = Sources()
            scan_folder(path, self.destination, found)
            for source in found.files:
                self._look_at(source.path)
        elif is_picture(os.path.basename(path)) and (stamp := _stamp(path)) is not None:
            self._waiting[path] = _Waiting(stamp, self.clock() + self.settled)

    def _is_left_out(self, path: str) -> bool:
        below = os.path.relpath(path, self.folder)
        if below.startswith(os.pardir) or any(is_hidden(part) for part in Path(below).parts if part != os.curdir):
            return True
        out = os.path.normcase(self.destination)
        return os.path.normcase(path) == out or os.path.normcase(path).startswith(out + os.sep)

    def _take_settled(self) -> Item | None:
        now = self.clock()
        for path, waiting in list(self._waiting.items()):
            if waiting.until > now:
                continue
            stamp = _stamp(path)
            if stamp is None:
                del self._waiting[path]  # renamed, which was told of, or gone
            elif stamp != waiting.stamp or stamp[0] == 0:
                self._waiting[path] = _Waiting(stamp, now + self.settled)
            else:
                del self._waiting[path]
                self._count += 1
                return Item(self._count, path, self._place(path), *stamp)
        return None

    def _place(self, path: str) -> str:
        """Where the result goes: by its name, unless another photo has that place."""
        for place in (place_of(path, self.folder), place_with_whole_name(path, self.folder)):
            key = unicodedata.normalize("NFC", place.casefold())
            if self._places.setdefault(key, path) == path or not os.path.lexists(self._places[key]):
                self._places[key] = path
                break
        return place


def name_below(destination: Path, folder: Path) -> str:
    """The absolute name of the folder of results, below a watched one where it lies there, by whatever links."""
    here, out = folder.resolve(), destination.resolve()
    return str(folder.absolute() / out.relative_to(here) if out.is_relative_to(here) else destination.absolute())


def _stamp(path: str) -> tuple[int, int] | None:
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
            # The system watches it no longer, even if another one gets its name.
            self._arrivals.is_there = lambda: False
        if event.event_type not in _TELLING:
            return
        moved = isinstance(event, FileSystemMovedEvent)
        self._arrivals.tell(os.fsdecode(event.dest_path if moved else event.src_path))


def _remember(folder: str) -> Callable[[], bool]:
    """Tells whether a folder is still the same, for the system follows the one that is watched to another name.

    Raises:
        OSError: it is not there.
    """
    before = os.stat(folder)

    def is_same() -> bool:
        try:
            return os.path.samestat(before, os.stat(folder))
        except OSError:
            return False

    return is_same


@contextmanager
def watch(arrivals: Arrivals, poll: bool = False) -> Iterator[None]:
    """Tell ``arrivals`` of what is in its folder and of all that comes, until the block is left.

    Args:
        arrivals: is told.
        poll: list the folder every few seconds instead of asking the system, which does not notice what other
            computers put on a network drive.

    Raises:
        CannotWrite: the system can't watch the folder.
    """
    observer = PollingObserver(timeout=_POLL) if poll else Observer()
    observer.schedule(_Handler(arrivals), arrivals.folder, recursive=True)
    try:
        arrivals.is_there = partial(os.path.isdir, arrivals.folder) if poll else _remember(arrivals.folder)
        observer.start()
    except OSError as error:
        raise CannotWrite("folder-not-watched", path=arrivals.folder, reason=str(error.strerror).lower()) from error
    try:
        # After the start, so that nothing comes unseen in between.
        arrivals.tell(arrivals.folder)
        yield
    finally:
        observer.stop()
        observer.join()
