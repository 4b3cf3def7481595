"""What an engine is: it takes planned photos, and yields what came of each, in whatever order they are finished.

An engine writes nothing: the bytes of a result are part of what it yields, and ``recorder`` puts them in place. So one
that works in other processes or on other machines needs no access to the folder of results.
"""

from __future__ import annotations

import operator
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from c2p_core.api import CancelToken, Face, Progress, ProtectRequest, ProtectResult
from c2p_core.batch.layout import Item
from c2p_core.batch.reading import read_photo
from c2p_core.errors import Message
from c2p_core.io import report
from c2p_core.photo_file import UNEXPECTED_EXIT_CODE

if TYPE_CHECKING:
    from c2p_core.models.store import ModelStore


class Looks(Protocol):
    """What the faces of each photo get, where not all get the same; for `c2p people`.

    ``choose`` is called in the thread that searches, for one photo after the other. ``learn`` follows for each of them,
    perhaps in another thread, when the photo is finished or has failed; ``choose`` may wait for that of an earlier
    photo that it depends on.
    """

    def settings(self, path: str) -> Mapping[str, Any]:
        """What of it determines the result of this photo, as JSON values: results with other settings are others."""
        ...

    def choose(self, path: str, request: ProtectRequest, faces: Sequence[Face]) -> ProtectRequest | None:
        """The request for a photo in which these faces were found; None where none of them is to be protected."""
        ...

    def learn(self, path: str, result: ProtectResult | None) -> None:
        """Called with every result, before it is written, and with None for a photo of which there will be none."""
        ...


@dataclass(frozen=True)
class Job:
    """What is done to every photo.

    Attributes:
        options: fields of the request, without the photo.
        strip_personal: whether personal metadata are removed.
        thumbnails: whether small pictures of the photo and the result are made.
        looks: see there.
        mark: whether the metadata say how the picture was edited, see ``io.source_type``.
        processes: that share the cores of this machine; 0 where they are those of a cluster. The pace depends on it.
    """

    options: Mapping[str, Any]
    strip_personal: bool = False
    thumbnails: bool = True
    looks: Looks | None = None
    mark: bool = True
    processes: int = 1


@dataclass(frozen=True)
class Reuse:
    """An earlier result that serves for a photo.

    Attributes:
        number: of its row in the journal.
        data: the file; None where it is in its place, or where there is none because no face was found.
    """

    number: int
    data: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a photo.

    Attributes:
        item: the photo.
        state: "known" where an earlier result serves.
        digest: SHA-256 of the photo's file; empty where it could not be read.
        stamp: size and time of change of the file, as it was read.
        report: its part of the report; without the name of the result, which the recorder chooses.
        data: the result's file.
        thumbnails: small pictures of before and after, as JPEG files.
        faces: how many were protected.
        seconds: that the searches took.
        reuse: the earlier result.
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


@dataclass(frozen=True)
class Control:
    """What an engine is given beside the photos.

    Attributes:
        store: opens the store of models.
        cancel: once set, no further photo is begun, and a search ends within a step; what was searched is finished.
        tell: called with the progress of a photo, from any thread.
        reuse: finds an earlier result for a photo and the digest of its file, from any thread; None without one.
        read: reads the file of a photo, from any thread, see ``reading.read_photo``.
    """

    store: Callable[[], ModelStore]
    cancel: CancelToken
    tell: Callable[[Item, Progress], None] = lambda item, progress: None
    reuse: Callable[[Item, str], Reuse | None] = lambda item, digest: None
    read: Callable[[Item], tuple[bytes, tuple[int, int]]] = lambda item: read_photo(item.path)


Engine = Callable[[Iterable[Item], Job, Control], Generator[Outcome, None, None]]
"""Raises ``ModelUnavailable`` where no photo can be protected; anything that is wrong with one is an outcome."""


class Backlog:
    """The photos that no worker has: those of workers that died, and then those that nobody has had yet."""

    def __init__(self, items: Iterator[Item], most_tries: int) -> None:
        """``most_tries`` is how many workers may die of a photo."""
        self._items = items
        self._most_tries = most_tries
        self._returned: deque[Item] = deque()
        self._tries: Counter[int] = Counter()
        self._exhausted = False

    @property
    def empty(self) -> bool:
        """Whether none is left, as far as that is known: the last of the plan is known once one more was asked for."""
        return self._exhausted and not self._returned

    def count(self, unknown: int) -> int:
        """How many are left; of a plan that does not say, so many more."""
        return len(self._returned) + (0 if self._exhausted else operator.length_hint(self._items, unknown))

    def take(self) -> Item | None:
        """The next photo; None where there is none."""
        if self._returned:
            return self._returned.popleft()
        item = None if self._exhausted else next(self._items, None)
        self._exhausted |= item is None
        return item

    def clear(self) -> None:
        """Leave all that are left as they are."""
        self._returned.clear()
        self._exhausted = True

    def give_back(self, items: Sequence[Item], reason: str, at_fault: bool = True) -> Iterator[Outcome]:
        """Take back the photos of a worker that died, for others; yields the one that several died of as failed.

        Args:
            items: the photos, first the one that it worked on; others were only being read.
            reason: why it died.
            at_fault: whether it may have died of its photo.
        """
        for place, item in reversed(list(enumerate(items))):
            self._tries[item.number] += at_fault and place == 0
            if self._tries[item.number] < self._most_tries:
                self._returned.appendleft(item)
                continue
            why = Message("process-ended", reason=reason)
            yield Outcome(item, "failed", report=report.failure_report(item.path, why, UNEXPECTED_EXIT_CODE))
