"""The interface of engines: an engine takes planned photos and yields their outcomes, in any order.

An engine writes nothing: an outcome contains the bytes of its result, and ``recorder`` puts them in place. So an engine
in other processes or on other machines needs no access to the folder of results.
"""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from c2p_core.api import CancelToken, Progress
from c2p_core.batch.layout import Item
from c2p_core.batch.looks import KnownTraces, Looks, TracesByPerson
from c2p_core.batch.reading import read_photo
from c2p_core.errors import Message
from c2p_core.io import report
from c2p_core.photo_file import UNEXPECTED_EXIT_CODE

if TYPE_CHECKING:
    from c2p_core.io.sidecars import Turn
    from c2p_core.models.store import ModelStore


@dataclass(frozen=True)
class Job:
    """The settings of a batch.

    Attributes:
        options: fields of the request, without the photo.
        strip_personal: whether personal metadata are removed.
        thumbnails: whether small pictures of the photo and the result are made.
        looks: see ``Looks``.
        mark: whether the metadata say how the picture was edited, see ``io.source_type``.
        processes: number of processes that share the cores of this machine, which determines the pace; 0 for a cluster.
    """

    options: Mapping[str, Any]
    strip_personal: bool = False
    thumbnails: bool = True
    looks: Looks | None = None
    mark: bool = True
    processes: int = 1


@dataclass(frozen=True)
class Reuse:
    """An earlier result that can be used for a photo.

    Attributes:
        number: of its row in the journal.
        data: its file; None if it is in its place already, or if there is none because no face was found.
    """

    number: int
    data: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a photo.

    Attributes:
        item: the photo.
        state: "known" if an earlier result is used.
        digest: SHA-256 of the photo's file; empty if it could not be read.
        stamp: size and modification time of the file, as it was read.
        report: its entry in the report, without the name of the result, which the recorder chooses.
        data: the result's file.
        thumbnails: small pictures of before and after, as JPEG files.
        faces: how many were protected.
        seconds: duration of the searches.
        reuse: the earlier result.
        turn: how the result's file is turned against the photo's, for its sidecars.
        traces: what the photo leaves of its people.
    """

    item: Item
    state: Literal["done", "without-face", "failed", "known"]
    digest: str = ""
    stamp: tuple[int, int] = (-1, -1)
    report: dict[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    thumbnails: tuple[bytes, bytes] | None = None
    faces: int = 0
    seconds: float = 0.0
    reuse: Reuse | None = None
    turn: Turn | None = None
    traces: TracesByPerson = field(default_factory=dict)


@dataclass(frozen=True)
class Control:
    """What an engine gets besides the photos.

    Attributes:
        store: opens the store of models.
        cancel: once set, no further photo is started, and a search ends within a step; searched photos are finished.
        report_progress: called with the progress of a photo, from any thread.
        find_reuse: finds an earlier result for a photo and the digest of its file, from any thread; None without one.
        find_traces: finds what earlier photos left of the people on a photo, from any thread; see ``looks.FindTraces``.
        read: reads the file of a photo, from any thread, see ``reading.read_photo``.
    """

    store: Callable[[], ModelStore]
    cancel: CancelToken
    report_progress: Callable[[Item, Progress], None] = lambda item, progress: None
    find_reuse: Callable[[Item, str], Reuse | None] = lambda item, digest: None
    find_traces: Callable[[Item, Collection[int], Collection[str]], KnownTraces] = lambda item, people, unrecorded: (
        KnownTraces()
    )
    read: Callable[[Item], tuple[bytes, tuple[int, int]]] = lambda item: read_photo(item.path)


Engine = Callable[[Iterable[Item], Job, Control], Generator[Outcome, None, None]]
"""Raises ``ModelUnavailable`` if no photo can be protected; a problem with a single photo is an outcome."""


class Backlog:
    """The photos that no worker has: first those of workers that died, then the rest of the plan."""

    def __init__(self, items: Iterator[Item], max_tries: int) -> None:
        """``max_tries`` is how many workers may die of a photo before it has failed."""
        self._items = items
        self._max_tries = max_tries
        self._returned: deque[Item] = deque()
        self._tries: Counter[int] = Counter()
        self._exhausted = False

    @property
    def empty(self) -> bool:
        """Whether none is left; the end of the plan is only known once ``take`` has reached it."""
        return self._exhausted and not self._returned

    def count(self, default: int) -> int:
        """How many are left; ``default`` stands for the rest of a plan of unknown length."""
        return len(self._returned) + (0 if self._exhausted else operator.length_hint(self._items, default))

    def take(self, held: Collection[Item] = ()) -> Item | None:
        """The next photo for a worker that holds some; None if there is none for it now.

        A photo whose worker died is tried alone, so that a photo beside it does not fail with it.
        """
        if any(self._tries[item.number] for item in held):
            return None
        if self._returned and not (held and self._tries[self._returned[0].number]):
            return self._returned.popleft()
        item = None if self._exhausted else next(self._items, None)
        self._exhausted |= item is None
        return item

    def clear(self) -> None:
        """Drop all photos that are left."""
        self._returned.clear()
        self._exhausted = True

    def requeue(self, items: Sequence[Item], reason: Message | str, at_fault: bool = True) -> Iterator[Outcome]:
        """Take back the photos of a worker that died; yields as failed one that has killed ``max_tries`` workers.

        Args:
            items: the photos.
            reason: why it died.
            at_fault: whether one of them may have killed it: the one that was searched, or the next, being detected.
        """
        for item in reversed(items):
            self._tries[item.number] += at_fault
            if self._tries[item.number] < self._max_tries:
                self._returned.appendleft(item)
                continue
            message = Message("process-ended", reason=reason)
            yield Outcome(item, "failed", report=report.failure_report(item.path, message, UNEXPECTED_EXIT_CODE))
