"""What the faces of each photo of a shoot get: the people's side of ``c2p batch`` (``batch.engine.Looks``)."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from c2p_core.api import Face, FaceLook, ProtectRequest, ProtectResult, Trace
from c2p_core.errors import BadRequest
from c2p_core.faces.boxes import match_face
from c2p_core.faces.select import choose_faces
from c2p_core.people import listing
from c2p_core.people.listing import ListedFace, Listing, find_labelled, name_photo, read_listing
from c2p_core.people.looks_file import FaceLabel, Looks, PersonLook, read_looks
from c2p_core.people.results import Results

# Seconds that a photo waits for an earlier one of the same person: where a run ends, no outcome of that is ever told.
PATIENCE = 30.0
# Latest protected faces of a person that the next one is pushed away from.
_REMEMBERED = 20


class ShootLooks:
    """Who is on which photo and what they get, with what the finished photos left of each person.

    ``choose`` and ``learn`` may be called from different threads. Traces stay in the memory of this object; another
    process gets a copy that knows none yet.
    """

    def __init__(
        self,
        looks: Looks,
        listed: Listing,
        folder: Path,
        only: Collection[int] = (),
        skip: Collection[int] = (),
        results: Results | None = None,
    ) -> None:
        """Args:
            looks: what each person gets.
            listed: the list of faces.
            folder: of the list, which the photos' names are relative to.
            only: numbers of the people to protect, nobody else; everybody when empty.
            skip: numbers of people not to protect.
            results: photos that earlier runs have protected already.

        Raises:
            BadRequest: one of the numbers is no person's.
        """
        self._given = looks, listed, folder, tuple(only), tuple(skip)
        self._looks = looks
        self._folder = folder
        self.go_on_from(results or Results({}))
        self._people = assign_people(looks, listed.faces)
        self._read = frozenset(listed.photos)
        self._photos: dict[str, list[ListedFace]] = {}
        for face in listed.faces:
            self._photos.setdefault(face.photo, []).append(face)
        known = {*self._people.values(), *looks.people} - {0}
        self._only, self._skip = (frozenset(map(looks.person, numbers)) for numbers in (only, skip))
        for number in sorted((self._only | self._skip) - known):
            raise BadRequest("person-unknown", number=number, known=sorted(known))
        self._changed = threading.Condition()
        self._unfinished: dict[str, dict[int, int]] = {}
        self._traces: dict[int, tuple[Trace, ...]] = {}

    @classmethod
    def read(cls, path: Path, only: Collection[int] = (), skip: Collection[int] = ()) -> ShootLooks:
        """Read a looks file and the list of faces beside it.

        Raises:
            UnreadableImage: one of the two can't be read.
            BadRequest: the looks file says something that has no meaning; there is no list; a number is no person's.
        """
        listed = read_listing(path.parent / listing.NAME)
        if not listed.faces:
            raise BadRequest("people-not-listed", path=str(path.parent / listing.NAME))
        return cls(read_looks(path), listed, path.parent, only, skip)

    def __reduce__(self) -> tuple[Any, ...]:
        return ShootLooks, (*self._given, self._results)

    def go_on_from(self, results: Results) -> None:
        """Also push away from these protected photos of earlier runs; to be called before any photo is chosen."""
        self._results = results
        self._finished = {name_photo(Path(source), self._folder): source for source in results.files}

    def find_unlisted(self, paths: Iterable[str]) -> list[str]:
        """The photos that the list of faces doesn't cover yet: no face in them is assigned to a person."""
        return [path for path in paths if name_photo(Path(path), self._folder) not in self._read]

    def settings(self, path: str) -> Mapping[str, Any]:
        """What of all this determines the result of a photo, as JSON values."""
        if self.find_unlisted([path]):
            return {"others": self._describe(0)}
        people = [(face, self._people[face]) for face in self._listed(path)]
        return {"people": [[face.number, person, *self._describe(person)] for face, person in people]}

    def choose(self, path: str, request: ProtectRequest, faces: Sequence[Face]) -> ProtectRequest | None:
        """The request for a photo in which these faces were found; None where none of them is to be protected.

        Waits until earlier photos with one of the same people are finished.
        """
        usable = choose_faces(faces, request.faces, [])
        people = {face.number: self._person(face, path) for face in usable}
        wanted = {number: person for number, person in people.items() if self._is_wanted(person)}
        if not wanted:
            return None
        traces = self._await_traces(path, {number: person for number, person in wanted.items() if person})
        looks = []
        for number, person in wanted.items():
            own = self._look(person)
            look = FaceLook(number, own.prompt, own.strength, own.seed, own.locks, traces.get(person, ()))
            # An unassigned face gets what the request says, unless the file has a look for the others.
            if person or look != FaceLook(number):
                looks.append(look)
        return replace(
            request, faces=request.faces if len(wanted) == len(usable) else tuple(wanted), looks=tuple(looks)
        )

    def learn(self, path: str, result: ProtectResult | None) -> None:
        """Remember what a finished photo leaves of its people: nothing where it failed, ``result`` None."""
        with self._changed:
            people = self._unfinished.pop(path, {})
            for trace in () if result is None else result.traces:
                if trace.number in people:
                    self._remember(people[trace.number], trace)
            self._changed.notify_all()

    def _await_traces(self, path: str, people: dict[int, int]) -> dict[int, tuple[Trace, ...]]:
        own = set(people.values())

        def find_pending() -> list[str]:
            return [earlier for earlier, there in self._unfinished.items() if own.intersection(there.values())]

        with self._changed:
            self._changed.wait_for(lambda: not find_pending(), PATIENCE)
            for given_up in find_pending():
                del self._unfinished[given_up]
            self._unfinished[path] = people
            for person in own - set(self._traces):
                self._traces[person] = self._recall(person)
            return {person: self._traces.get(person, ()) for person in own}

    def _recall(self, person: int) -> tuple[Trace, ...]:
        """What earlier runs left of a person: their protected faces, without codes."""
        shown = [f for f, number in self._people.items() if number == person and f.photo in self._finished]
        found = ((f.number, self._results.embed(self._finished[f.photo], f.box)) for f in reversed(shown))
        traces = (Trace(number, {}, embedded) for number, embedded in found if embedded)
        return tuple(islice(traces, _REMEMBERED))[::-1]

    def _remember(self, person: int, trace: Trace) -> None:
        # Codes are larger than embeddings, and only the last one is used.
        earlier = (replace(old, code={}) for old in self._traces.get(person, ()))
        self._traces[person] = (*earlier, trace)[-_REMEMBERED:]

    def _listed(self, path: str) -> Sequence[ListedFace]:
        return self._photos.get(name_photo(Path(path), self._folder), ())

    def _person(self, face: Face, path: str) -> int:
        match = match_face(face.box, self._listed(path))
        return 0 if match is None else self._people[match]

    def _look(self, person: int) -> PersonLook:
        return self._looks.people.get(person, PersonLook()) if person else self._looks.others

    def _is_wanted(self, person: int) -> bool:
        chosen = person in self._only if self._only else person not in self._skip
        return chosen and not self._look(person).skip

    def _describe(self, person: int) -> list[Any]:
        return [self._is_wanted(person), asdict(self._look(person))]


def assign_people(looks: Looks, faces: Sequence[ListedFace]) -> dict[ListedFace, int]:
    """The person of each face, 0 for nobody: its group, as the looks file corrects it since the list was made."""
    people = {face: looks.person(face.group) if face.group else 0 for face in faces}
    for number, labels in looks.said.items():
        people.update(dict.fromkeys(_named(labels, faces), looks.person(number)))
    people.update(dict.fromkeys(_named(looks.nobody, faces), 0))
    return people


def _named(labels: Iterable[FaceLabel], faces: Sequence[ListedFace]) -> list[ListedFace]:
    return [faces[at] for at in find_labelled(labels, faces)[0]]
