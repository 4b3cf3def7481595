"""Chooses the looks of the faces on each photo of a shoot: the implementation of ``batch.looks.Looks``."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2p_core.api import CancelToken, Face, FaceLook, ProtectRequest, ProtectResult, Trace
from c2p_core.batch.looks import FindTraces, TracesByPerson
from c2p_core.errors import BadRequest
from c2p_core.faces.boxes import match_face
from c2p_core.faces.select import choose_faces
from c2p_core.people import listing
from c2p_core.people.listing import ListedFace, Listing, find_labelled, name_photo, read_listing
from c2p_core.people.looks_file import FaceLabel, Looks, PersonLook, read_looks
from c2p_core.people.traces import ShootTraces, join_traces

if TYPE_CHECKING:
    from c2p_core.people.results import Results

# Seconds after which a photo that waits for an earlier one of the same person looks whether the run was stopped.
POLL_SECONDS = 0.2


class ShootLooks:
    """Who is on which photo and with which look, and the order in which one process searches the photos of a person.

    ``lead_away`` and ``learn`` may be called from different threads. Another process gets a copy that knows of no
    search.
    """

    def __init__(
        self,
        looks: Looks,
        listed: Listing,
        folder: Path,
        only: Collection[int] = (),
        skip: Collection[int] = (),
    ) -> None:
        """Args:
            looks: the look of each person.
            listed: the list of faces.
            folder: of the list, to which the photos' names are relative.
            only: numbers of the people to protect, nobody else; everybody when empty.
            skip: numbers of people not to protect.

        Raises:
            BadRequest: one of the numbers belongs to nobody.
        """
        self._arguments = looks, listed, folder, tuple(only), tuple(skip)
        self._looks = looks
        self._folder = folder
        self._people = assign_people(looks, listed.faces)
        self._listed_photos = frozenset(listed.photos)
        self._photos: dict[str, list[ListedFace]] = {}
        for face in listed.faces:
            self._photos.setdefault(face.photo, []).append(face)
        known = {*self._people.values(), *looks.people} - {0}
        self._only, self._skip = (frozenset(map(looks.resolve_person, numbers)) for numbers in (only, skip))
        for number in sorted((self._only | self._skip) - known):
            raise BadRequest("person-unknown", number=number, known=sorted(known))
        self._changed = threading.Condition()
        # The people on the photos that this process is working on, by path: person by number of the face.
        self._unfinished: dict[str, dict[int, int]] = {}
        # What finished photos have left that the first process had not recorded when it was last asked.
        self._unrecorded: dict[str, TracesByPerson] = {}

    @classmethod
    def read(cls, path: Path, only: Collection[int] = (), skip: Collection[int] = ()) -> ShootLooks:
        """Read a looks file and the list of faces beside it.

        Raises:
            UnreadableImage: one of the two can't be read.
            BadRequest: the looks file is invalid; there is no list; a number belongs to nobody.
        """
        listed = read_listing(path.parent / listing.NAME)
        if not listed.faces:
            raise BadRequest("people-not-listed", path=str(path.parent / listing.NAME))
        return cls(read_looks(path), listed, path.parent, only, skip)

    def __reduce__(self) -> tuple[Any, ...]:
        return ShootLooks, self._arguments

    def make_traces(self, results: Results) -> ShootTraces:
        """Make the traces of these people; ``results`` are photos that earlier runs have protected."""
        return ShootTraces(self._people, self._folder, results)

    def find_unlisted(self, paths: Iterable[str]) -> list[str]:
        """The photos that the list of faces doesn't cover yet: no face in them is assigned to a person."""
        return [path for path in paths if name_photo(Path(path), self._folder) not in self._listed_photos]

    def settings_for(self, path: str) -> Mapping[str, Any]:
        """The settings that determine the result of a photo, as JSON values."""
        if self.find_unlisted([path]):
            return {"others": self._describe_choice(0)}
        people = [(face, self._people[face]) for face in self._get_listed_faces(path)]
        return {"people": [[face.number, person, *self._describe_choice(person)] for face, person in people]}

    def choose(self, path: str, request: ProtectRequest, faces: Sequence[Face]) -> ProtectRequest | None:
        """The request for a photo with these faces; None if none of them is to be protected."""
        usable = choose_faces(faces, request.faces, [])
        people = {face.number: self._find_person(face, path) for face in usable}
        wanted = {number: person for number, person in people.items() if self._is_wanted(person)}
        if not wanted:
            return None
        looks = []
        for number, person in wanted.items():
            person_look = self._get_look(person)
            look = FaceLook(number, person_look.prompt, person_look.strength, person_look.seed, person_look.locks)
            # The request applies to unassigned faces, unless the file has a look for the others.
            if person or look != FaceLook(number):
                looks.append(look)
        return replace(
            request, faces=request.faces if len(wanted) == len(usable) else tuple(wanted), looks=tuple(looks)
        )

    def lead_away(
        self,
        path: str,
        request: ProtectRequest,
        faces: Sequence[Face],
        find_traces: FindTraces,
        cancel: CancelToken,
    ) -> ProtectRequest:
        """The chosen request, now with the traces of earlier photos of the people, from which its search leads away.

        Waits until earlier photos of the same people are finished in this process, but not in others.

        Raises:
            Cancelled: the run was stopped meanwhile.
        """
        chosen = {look.face for look in request.looks}
        assigned = {face.number: self._find_person(face, path) for face in faces if face.number in chosen}
        people = {number: person for number, person in assigned.items() if person}
        if not people:
            return request
        traces = self._await_traces(path, people, find_traces, cancel)
        looks = (
            replace(look, earlier=traces[people[look.face]]) if look.face in people else look for look in request.looks
        )
        return replace(request, looks=tuple(looks))

    def learn(self, path: str, result: ProtectResult | None) -> TracesByPerson:
        """The traces of the people on a finished photo; one that failed, ``result`` None, leaves none."""
        with self._changed:
            people = self._unfinished.pop(path, {})
            left: dict[int, tuple[Trace, ...]] = {}
            for trace in () if result is None else result.traces:
                if trace.number in people:
                    person = people[trace.number]
                    left[person] = (*left.get(person, ()), trace)
            self._unrecorded.pop(path, None)
            if left:
                self._unrecorded[path] = left
            self._changed.notify_all()
            return left

    def _await_traces(
        self, path: str, people: dict[int, int], find_traces: FindTraces, cancel: CancelToken
    ) -> dict[int, tuple[Trace, ...]]:
        awaited = set(people.values())
        with self._changed:
            # However long it takes: an earlier photo given up would be forgotten, and its people match this one.
            while any(awaited.intersection(numbers.values()) for numbers in self._unfinished.values()):
                cancel.raise_if_cancelled()
                self._changed.wait(POLL_SECONDS)
            self._unfinished[path] = people
            unrecorded = tuple(self._unrecorded)
        known = find_traces(awaited, unrecorded)
        with self._changed:
            for recorded in known.recorded:
                self._unrecorded.pop(recorded, None)
            traces = {person: known.by_person.get(person, ()) for person in awaited}
            for left in self._unrecorded.values():
                traces |= {person: join_traces(traces[person], left[person]) for person in awaited & left.keys()}
            return traces

    def _get_listed_faces(self, path: str) -> Sequence[ListedFace]:
        return self._photos.get(name_photo(Path(path), self._folder), ())

    def _find_person(self, face: Face, path: str) -> int:
        match = match_face(face.box, self._get_listed_faces(path))
        return 0 if match is None else self._people[match]

    def _get_look(self, person: int) -> PersonLook:
        return self._looks.people.get(person, PersonLook()) if person else self._looks.others

    def _is_wanted(self, person: int) -> bool:
        chosen = person in self._only if self._only else person not in self._skip
        return chosen and not self._get_look(person).skip

    def _describe_choice(self, person: int) -> list[Any]:
        return [self._is_wanted(person), asdict(self._get_look(person))]


def assign_people(looks: Looks, faces: Sequence[ListedFace]) -> dict[ListedFace, int]:
    """The person of each face, 0 for nobody: its group, with the corrections of the looks file."""
    people = {face: looks.resolve_person(face.group) if face.group else 0 for face in faces}
    for number, labels in looks.assigned.items():
        people.update(dict.fromkeys(_find_faces(labels, faces), looks.resolve_person(number)))
    people.update(dict.fromkeys(_find_faces(looks.nobody, faces), 0))
    return people


def _find_faces(labels: Iterable[FaceLabel], faces: Sequence[ListedFace]) -> list[ListedFace]:
    return [faces[index] for index in find_labelled(labels, faces)[0]]
