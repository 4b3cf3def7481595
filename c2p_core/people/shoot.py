"""Chooses the looks of the faces on each photo of a shoot: the implementation of ``batch.engine.Looks``."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from c2p_core.api import CancelToken, Face, FaceLook, ProtectRequest, ProtectResult, Trace
from c2p_core.errors import BadRequest
from c2p_core.faces.boxes import match_face
from c2p_core.faces.select import choose_faces
from c2p_core.people import listing
from c2p_core.people.listing import ListedFace, Listing, find_labelled, name_photo, read_listing
from c2p_core.people.looks_file import FaceLabel, Looks, PersonLook, read_looks
from c2p_core.people.results import Results

# Seconds after which a photo that waits for an earlier one of the same person looks whether the run was stopped.
POLL_SECONDS = 0.2
# The latest protected faces of a person, from which the next one is pushed away.
_MAX_TRACES = 20


class ShootLooks:
    """Who is on which photo and with which look, and the traces that finished photos left of each person.

    ``choose`` and ``learn`` may be called from different threads. Traces stay in the memory of this object; another
    process gets a copy without any.
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
            looks: the look of each person.
            listed: the list of faces.
            folder: of the list, to which the photos' names are relative.
            only: numbers of the people to protect, nobody else; everybody when empty.
            skip: numbers of people not to protect.
            results: photos that earlier runs have protected.

        Raises:
            BadRequest: one of the numbers belongs to nobody.
        """
        self._arguments = looks, listed, folder, tuple(only), tuple(skip)
        self._looks = looks
        self._folder = folder
        self.use_earlier_results(results or Results({}))
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
        self._unfinished: dict[str, dict[int, int]] = {}
        self._traces: dict[int, tuple[Trace, ...]] = {}
        # Faces on earlier results of which the run has learnt after their person's traces were recalled.
        self._not_recalled: dict[int, list[ListedFace]] = {}

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
        return ShootLooks, (*self._arguments, self._results)

    def use_earlier_results(self, results: Results) -> None:
        """Also push away from these protected photos of earlier runs; call it before any ``choose``."""
        self._results = results
        self._finished = {name_photo(Path(source), self._folder): source for source in results.files}

    def add_earlier_result(self, path: str, protected: Path) -> None:
        """Also push away from this protected photo of an earlier run."""
        name = name_photo(Path(path), self._folder)
        with self._changed:
            self._results.files[path] = protected
            self._finished[name] = path
            for face in self._photos.get(name, ()):
                if self._people[face] in self._traces:
                    self._not_recalled.setdefault(self._people[face], []).append(face)

    def find_unlisted(self, paths: Iterable[str]) -> list[str]:
        """The photos that the list of faces doesn't cover yet: no face in them is assigned to a person."""
        return [path for path in paths if name_photo(Path(path), self._folder) not in self._listed_photos]

    def settings_for(self, path: str) -> Mapping[str, Any]:
        """The settings that determine the result of a photo, as JSON values."""
        if self.find_unlisted([path]):
            return {"others": self._describe_choice(0)}
        people = [(face, self._people[face]) for face in self._get_listed_faces(path)]
        return {"people": [[face.number, person, *self._describe_choice(person)] for face, person in people]}

    def choose(
        self, path: str, request: ProtectRequest, faces: Sequence[Face], cancel: CancelToken
    ) -> ProtectRequest | None:
        """The request for a photo with these faces; None if none of them is to be protected.

        Waits until earlier photos of the same people are finished.

        Raises:
            Cancelled: the run was stopped meanwhile.
        """
        usable = choose_faces(faces, request.faces, [])
        people = {face.number: self._find_person(face, path) for face in usable}
        wanted = {number: person for number, person in people.items() if self._is_wanted(person)}
        if not wanted:
            return None
        traces = self._await_traces(path, {number: person for number, person in wanted.items() if person}, cancel)
        looks = []
        for number, person in wanted.items():
            person_look = self._get_look(person)
            look = FaceLook(
                number,
                person_look.prompt,
                person_look.strength,
                person_look.seed,
                person_look.locks,
                traces.get(person, ()),
            )
            # The request applies to unassigned faces, unless the file has a look for the others.
            if person or look != FaceLook(number):
                looks.append(look)
        return replace(
            request, faces=request.faces if len(wanted) == len(usable) else tuple(wanted), looks=tuple(looks)
        )

    def learn(self, path: str, result: ProtectResult | None) -> None:
        """Remember the traces of the people on a finished photo; one that failed, ``result`` None, leaves none."""
        with self._changed:
            people = self._unfinished.pop(path, {})
            for trace in () if result is None else result.traces:
                if trace.number in people:
                    self._remember(people[trace.number], trace)
            self._changed.notify_all()

    def _await_traces(self, path: str, people: dict[int, int], cancel: CancelToken) -> dict[int, tuple[Trace, ...]]:
        awaited = set(people.values())
        with self._changed:
            # However long it takes: an earlier photo given up would be forgotten, and its people match this one.
            while any(awaited.intersection(numbers.values()) for numbers in self._unfinished.values()):
                cancel.raise_if_cancelled()
                self._changed.wait(POLL_SECONDS)
            self._unfinished[path] = people
            for person in awaited:
                self._traces[person] = self._recall(person)
            return {person: self._traces.get(person, ()) for person in awaited}

    def _recall(self, person: int) -> tuple[Trace, ...]:
        """The traces of a person: those that earlier runs left, protected faces without codes, and then this run's."""
        if person in self._traces:
            protected_faces = self._not_recalled.pop(person, [])
        else:
            protected_faces = [
                face for face, number in self._people.items() if number == person and face.photo in self._finished
            ]
        embeddings = (
            (face.number, self._results.embed(self._finished[face.photo], face.box))
            for face in reversed(protected_faces)
        )
        traces = (Trace(number, {}, embedding) for number, embedding in embeddings if embedding)
        recalled = tuple(islice(traces, _MAX_TRACES))[::-1]
        return (*recalled, *self._traces.get(person, ()))[-_MAX_TRACES:]

    def _remember(self, person: int, trace: Trace) -> None:
        # Codes are larger than embeddings, and only the last one is used.
        earlier = (replace(previous, code={}) for previous in self._traces.get(person, ()))
        self._traces[person] = (*earlier, trace)[-_MAX_TRACES:]

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
