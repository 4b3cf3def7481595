"""What protected photos leave of each person, for later photos: in the memory of the first process of a batch."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.api import CancelToken, Trace
from c2p_core.batch.looks import KnownTraces, TracesByPerson
from c2p_core.people.listing import ListedFace, name_photo

if TYPE_CHECKING:
    from c2p_core.people.results import Results

# The latest protected faces of a person, from which the next one is led away.
_MAX_TRACES = 20


class ShootTraces:
    """The traces of each person of a shoot: the implementation of ``batch.looks.Traces``.

    Those of results of earlier runs are embedded when a photo of their person is searched, and only once.
    """

    def __init__(self, people: Mapping[ListedFace, int], folder: Path, results: Results) -> None:
        """Args:
        people: the person of each listed face, 0 for nobody.
        folder: of the list of faces, to which the photos' names are relative.
        results: photos that earlier runs have protected.
        """
        self._people = people
        self._photos: dict[str, list[ListedFace]] = {}
        for face in people:
            self._photos.setdefault(face.photo, []).append(face)
        self._folder = folder
        self._results = results
        self._finished = {name_photo(Path(source), folder): source for source in results.files}
        self._lock = threading.Lock()
        self._traces: dict[int, tuple[Trace, ...]] = {}
        self._recorded: set[str] = set()
        self._recalled: set[int] = set()
        # Faces on earlier results of which the run has learnt after their person's traces were recalled.
        self._not_recalled: dict[int, list[ListedFace]] = {}

    def find(self, people: Collection[int], unrecorded: Collection[str], cancel: CancelToken) -> KnownTraces:
        """The traces of these people, and which of the photos, given by their paths, have been recorded by now.

        Incomplete once ``cancel`` is set.
        """
        with self._lock:
            for person in people:
                recalled = self._recall(person, cancel)
                self._traces[person] = join_traces(recalled, self._traces.get(person, ()))
            by_person = {person: self._traces[person] for person in people}
            return KnownTraces(by_person, frozenset(self._recorded.intersection(unrecorded)))

    def record(self, path: str, traces: TracesByPerson) -> None:
        """Remember what a photo of this run has left, which may be nothing."""
        with self._lock:
            self._recorded.add(path)
            for person, left in traces.items():
                self._traces[person] = join_traces(self._traces.get(person, ()), left)

    def add_earlier_result(self, path: str, protected: Path) -> None:
        """Remember a photo whose earlier result is used, and the file of that result."""
        name = name_photo(Path(path), self._folder)
        with self._lock:
            self._results.files[path] = protected
            self._finished[name] = path
            for face in self._photos.get(name, ()):
                if self._people[face] in self._recalled:
                    self._not_recalled.setdefault(self._people[face], []).append(face)

    def _recall(self, person: int, cancel: CancelToken) -> tuple[Trace, ...]:
        """The traces of a person on results of earlier runs that were not recalled yet: faces without codes."""
        if person in self._recalled:
            protected_faces = self._not_recalled.pop(person, [])
        else:
            self._recalled.add(person)
            protected_faces = [
                face for face, number in self._people.items() if number == person and face.photo in self._finished
            ]
        latest = list(self._embed_latest(protected_faces, cancel))
        return tuple(reversed(latest))

    def _embed_latest(self, faces: Sequence[ListedFace], cancel: CancelToken) -> Iterator[Trace]:
        """The traces of the last of these faces, latest first."""
        count = 0
        for face in reversed(faces):
            if cancel.cancelled or count == _MAX_TRACES:
                return
            embedding = self._results.embed(self._finished[face.photo], face.box)
            if embedding:
                count += 1
                yield Trace(face.number, {}, embedding)


def join_traces(earlier: Sequence[Trace], later: Sequence[Trace]) -> tuple[Trace, ...]:
    """The latest traces of a person; only the very last one keeps its code, since no other is used."""
    joined = (*earlier, *later)[-_MAX_TRACES:]
    return (*(replace(trace, code={}) for trace in joined[:-1]), *joined[-1:])
