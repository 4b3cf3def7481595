"""Looks and traces of the people on the photos of a batch: interfaces that ``people`` implements.

Every process of an engine chooses looks for its own photos. What protected photos left of their people is known in the
first process alone; the others ask it before each search.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from c2p_core.api import CancelToken, Face, ProtectRequest, ProtectResult, Trace

TracesByPerson = Mapping[int, tuple[Trace, ...]]
"""Traces by the number of their person, oldest first."""


@dataclass(frozen=True)
class KnownTraces:
    """The traces of some people that the first process knows.

    Attributes:
        by_person: the traces; all but the last one of a person may be without a code.
        recorded: which of the photos that were asked about have left theirs; paths.
    """

    by_person: TracesByPerson = field(default_factory=dict)
    recorded: frozenset[str] = frozenset()


FindTraces = Callable[[Collection[int], Collection[str]], KnownTraces]
"""Finds the traces of people, and which photos of these paths have been recorded."""


class Looks(Protocol):
    """Chooses looks for single faces; for `c2p people`. Every process has its own.

    ``choose`` and ``lead_away`` are called in the thread that searches, for one photo after the other. ``learn``
    follows for each of them, perhaps in another thread, when the photo is finished or has failed, unless the run is
    cancelled; for a photo that fails while its result is encoded, it is called a second time.
    """

    def settings_for(self, path: str) -> Mapping[str, Any]:
        """The settings that determine the result of a photo, as JSON values; other settings mean another result."""
        ...

    def choose(self, path: str, request: ProtectRequest, faces: Sequence[Face]) -> ProtectRequest | None:
        """The request for a photo with these faces; None if none of them is to be protected."""
        ...

    def lead_away(
        self,
        path: str,
        request: ProtectRequest,
        faces: Sequence[Face],
        find_traces: FindTraces,
        cancel: CancelToken,
    ) -> ProtectRequest:
        """The chosen request, now with the traces of earlier photos of the people, from which its search leads away.

        May wait for the ``learn`` of an earlier photo.

        Raises:
            Cancelled: the run was cancelled while this waited.
        """
        ...

    def learn(self, path: str, result: ProtectResult | None) -> TracesByPerson:
        """The traces that a result leaves; called before it is written, and with None for a photo without a result."""
        ...


class Traces(Protocol):
    """The traces of people, in the first process; may be called from any thread."""

    def find(self, people: Collection[int], unrecorded: Collection[str], cancel: CancelToken) -> KnownTraces:
        """The traces of these people, and which of the photos, given by their paths, have been recorded by now.

        Incomplete once ``cancel`` is set.
        """
        ...

    def record(self, path: str, traces: TracesByPerson) -> None:
        """Remember what a photo of this run has left, which may be nothing."""
        ...

    def add_earlier_result(self, path: str, protected: Path) -> None:
        """Remember a photo whose earlier result is used, and the file of that result."""
        ...
