"""Reads ``looks.toml``: what each person of a shoot gets, and corrections by hand; adds people to it.

The program only ever appends to the file, so that everything in it, comments too, stays as somebody wrote it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from c2p_core.api import Part
from c2p_core.errors import BadRequest, UnreadableImage
from c2p_core.validate import LARGEST_SEED, LONGEST_PROMPT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "looks.toml"
_HEAD = """\
# What each person of this shoot gets; made by `c2p people`, which only ever adds people at the end.
# What a person lacks here is as the options of `c2p batch` say. The numbers are those of people.html, beside this file.
#
# Corrections go here, above the first section; the labels of faces are those of people.html:
# merge = [[3, 7]]  # 3 and 7 are the same person
# nobody = ["photo.jpg@812,340"]  # this face is nobody in particular

# The faces that belong to nobody in this list, such as passers-by.
[others]
# skip = true
"""
_SECTION = """
[person.{number}]
# prompt = "natural makeup"
# strength = 0.5
# seed = 0
# locks = ["brows", "mouth", "nose", "jaw"]
# skip = true
# faces = ["photo.jpg@812,340"]  # is this person, too
"""
_TOP = ("merge", "nobody", "others", "person")
_LOOK = ("prompt", "strength", "seed", "locks", "skip")
_PARTS = get_args(Part)
_FACE = re.compile(r"(?P<photo>.+)@(?P<x>\d+),(?P<y>\d+)")


@dataclass(frozen=True)
class PersonLook:
    """What a person gets; None for what the command's options say."""

    prompt: str | None = None
    strength: float | None = None
    seed: int | None = None
    locks: tuple[Part, ...] | None = None
    skip: bool = False


@dataclass(frozen=True)
class FaceLabel:
    """A face as people name it: a photo, as the list of faces names it, and a point inside the face in its pixels."""

    photo: str
    x: float
    y: float

    def __str__(self) -> str:
        return f"{self.photo}@{self.x:.0f},{self.y:.0f}"


@dataclass(frozen=True)
class Looks:
    """A looks file.

    Attributes:
        people: what each person gets, by number.
        others: what the faces get that belong to nobody.
        merged: numbers to the number that the person keeps; those that are not merged are missing.
        nobody: faces that are nobody in particular.
        said: faces that are a person, by number.
    """

    people: Mapping[int, PersonLook] = field(default_factory=dict)
    others: PersonLook = PersonLook()
    merged: Mapping[int, int] = field(default_factory=dict)
    nobody: tuple[FaceLabel, ...] = ()
    said: Mapping[int, tuple[FaceLabel, ...]] = field(default_factory=dict)

    def person(self, number: int) -> int:
        """The number that a person keeps."""
        return self.merged.get(number, number)

    @property
    def numbers(self) -> set[int]:
        """All numbers that the file mentions."""
        return {*self.people, *self.merged, *self.merged.values()}


def read_looks(path: Path) -> Looks:
    """Read a looks file; one that does not exist says nothing.

    Raises:
        UnreadableImage: it can't be read.
        BadRequest: it is no TOML, or says something that has no meaning.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Looks()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableImage("looks-not-read", path=str(path), reason=str(error)) from error
    return parse_looks(text, str(path))


def parse_looks(text: str, path: str) -> Looks:
    """The content of a looks file; ``path`` is for errors, which are as those of ``read_looks``."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest("looks-not-toml", path=path, reason=str(error)) from error
    return _Reader(path).looks(table)


def add_people(text: str, numbers: Iterable[int]) -> str:
    """The text of a looks file with a section for each of the people that have none yet; all else stays as it is."""
    if not text.strip():
        text = _HEAD
    known = parse_looks(text, NAME).people
    sections = "".join(_SECTION.format(number=number) for number in sorted(set(numbers) - set(known)))
    return text if not sections else text.rstrip("\n") + "\n" + sections


class _Reader:
    """Checks the tables of a looks file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def looks(self, table: Mapping[str, Any]) -> Looks:
        self._check_keys(table, _TOP, "")
        people, said = {}, {}
        for name, section in self._table(table.get("person", {}), "person").items():
            where = f"person.{name}"
            if not (name.isascii() and name.isdigit() and int(name) > 0):
                raise self._wrong(where, "[person.3]")
            own = self._table(section, where)
            self._check_keys(own, (*_LOOK, "faces"), where)
            people[int(name)] = self._look(own, where)
            if labels := self._labels(own.get("faces", []), f"{where}.faces"):
                said[int(name)] = labels
        others = self._table(table.get("others", {}), "others")
        self._check_keys(others, _LOOK, "others")
        return Looks(
            people,
            self._look(others, "others"),
            self._merges(table.get("merge", [])),
            self._labels(table.get("nobody", []), "nobody"),
            said,
        )

    def _look(self, table: Mapping[str, Any], where: str) -> PersonLook:
        prompt, strength, seed, locks, skip = (table.get(key) for key in _LOOK)
        if prompt is not None and not (isinstance(prompt, str) and len(prompt) <= LONGEST_PROMPT):
            raise self._wrong(f"{where}.prompt", 'prompt = "red lipstick"')
        if strength is not None and (isinstance(strength, bool) or not isinstance(strength, int | float)):
            raise self._wrong(f"{where}.strength", "strength = 0.5")
        if strength is not None and not 0 <= strength <= 1:
            raise self._wrong(f"{where}.strength", "strength = 0.5")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED):
            raise self._wrong(f"{where}.seed", "seed = 0")
        if locks is not None and not (isinstance(locks, list) and all(part in _PARTS for part in locks)):
            raise self._wrong(f"{where}.locks", f"locks = {json.dumps(_PARTS)}")
        if skip is not None and not isinstance(skip, bool):
            raise self._wrong(f"{where}.skip", "skip = true")
        return PersonLook(
            prompt,
            None if strength is None else float(strength),
            seed,
            None if locks is None else tuple(locks),
            bool(skip),
        )

    def _merges(self, value: Any) -> dict[int, int]:
        """Numbers to the lowest of those that they are merged with, through however many lists."""
        groups = value if isinstance(value, list) and all(isinstance(part, list) for part in value) else [value]
        merged: list[set[int]] = []
        for group in groups:
            if not isinstance(group, list) or not all(type(number) is int and number > 0 for number in group):
                raise self._wrong("merge", "merge = [[3, 7]]")
            together, apart = set(group), []
            for other in merged:
                if other & together:
                    together |= other
                else:
                    apart.append(other)
            merged = [*apart, together]
        return {number: min(group) for group in merged for number in group if number != min(group)}

    def _labels(self, value: Any, where: str) -> tuple[FaceLabel, ...]:
        if not isinstance(value, list):
            raise self._wrong(where, '["photo.jpg@812,340"]')
        found = [_FACE.fullmatch(label) if isinstance(label, str) else None for label in value]
        labels = [FaceLabel(m["photo"], float(m["x"]), float(m["y"])) for m in found if m is not None]
        if len(labels) < len(found):
            raise self._wrong(where, '["photo.jpg@812,340"]')
        return tuple(labels)

    def _table(self, value: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(where, "[person.3]")
        return value

    def _check_keys(self, table: Mapping[str, Any], known: Collection[str], where: str) -> None:
        for key in table:
            if key not in known:
                named = f"{where}.{key}" if where else key
                raise BadRequest("looks-key-unknown", path=self._path, key=named, known=list(known))

    def _wrong(self, key: str, example: str) -> BadRequest:
        return BadRequest("looks-value-wrong", path=self._path, key=key, example=example)
