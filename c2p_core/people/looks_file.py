"""Reads ``looks.toml``, the look of each person of a shoot and corrections by hand, and adds people to it.

The program only ever appends to the file, so that everything in it, comments included, stays as it was written.
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
# The look of each person of this shoot; made by `c2p people`, which only ever adds people at the end.
# The options of `c2p batch` apply to what is not set here. The numbers are those of people.html, beside this file.
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
_TOP_KEYS = ("merge", "nobody", "others", "person")
_LOOK_KEYS = ("prompt", "strength", "seed", "locks", "skip")
_PARTS = get_args(Part)
_LABEL = re.compile(r"(?P<photo>.+)@(?P<x>\d+),(?P<y>\d+)")


@dataclass(frozen=True)
class PersonLook:
    """The look of a person; None where the command's options apply."""

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
        people: the look of each person, by number.
        others: the look of faces that belong to nobody.
        merged: maps merged numbers to the number that the person keeps.
        nobody: faces that are nobody in particular.
        assigned: faces that somebody assigned to a person, by the person's number.
    """

    people: Mapping[int, PersonLook] = field(default_factory=dict)
    others: PersonLook = PersonLook()
    merged: Mapping[int, int] = field(default_factory=dict)
    nobody: tuple[FaceLabel, ...] = ()
    assigned: Mapping[int, tuple[FaceLabel, ...]] = field(default_factory=dict)

    def resolve_person(self, number: int) -> int:
        """The number that a person keeps after merging."""
        return self.merged.get(number, number)

    @property
    def numbers(self) -> set[int]:
        """All numbers that the file mentions."""
        return {*self.people, *self.merged, *self.merged.values()}


def read_looks(path: Path) -> Looks:
    """Read a looks file; one that does not exist is empty.

    Raises:
        UnreadableImage: it can't be read.
        BadRequest: it is not TOML, or has an unknown key or an invalid value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Looks()
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableImage("looks-not-read", path=str(path), reason=str(error)) from error
    return parse_looks(text, str(path))


def parse_looks(text: str, path: str) -> Looks:
    """Parse the text of a looks file; ``path`` is for errors, which are those of ``read_looks``."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest("looks-not-toml", path=path, reason=str(error)) from error
    return _Reader(path).parse(table)


def add_people(text: str, numbers: Iterable[int]) -> str:
    """The text of a looks file with a section for each person that has none yet; all else stays as it is."""
    if not text.strip():
        text = _HEAD
    known = parse_looks(text, NAME).people
    sections = "".join(_SECTION.format(number=number) for number in sorted(set(numbers) - set(known)))
    return text if not sections else text.rstrip("\n") + "\n" + sections


class _Reader:
    """Checks the tables of a looks file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def parse(self, table: Mapping[str, Any]) -> Looks:
        self._check_keys(table, _TOP_KEYS, "")
        people, assigned = {}, {}
        for name, section in self._expect_table(table.get("person", {}), "person").items():
            key = f"person.{name}"
            if not (name.isascii() and name.isdigit() and int(name) > 0):
                raise self._make_error(key, "[person.3]")
            person = self._expect_table(section, key)
            self._check_keys(person, (*_LOOK_KEYS, "faces"), key)
            people[int(name)] = self._parse_look(person, key)
            if labels := self._parse_labels(person.get("faces", []), f"{key}.faces"):
                assigned[int(name)] = labels
        others = self._expect_table(table.get("others", {}), "others")
        self._check_keys(others, _LOOK_KEYS, "others")
        return Looks(
            people,
            self._parse_look(others, "others"),
            self._parse_merges(table.get("merge", [])),
            self._parse_labels(table.get("nobody", []), "nobody"),
            assigned,
        )

    def _parse_look(self, table: Mapping[str, Any], section: str) -> PersonLook:
        prompt, strength, seed, locks, skip = (table.get(key) for key in _LOOK_KEYS)
        if prompt is not None and not (isinstance(prompt, str) and len(prompt) <= LONGEST_PROMPT):
            raise self._make_error(f"{section}.prompt", 'prompt = "red lipstick"')
        is_number = isinstance(strength, int | float) and not isinstance(strength, bool)
        if strength is not None and not (is_number and 0 <= strength <= 1):
            raise self._make_error(f"{section}.strength", "strength = 0.5")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED):
            raise self._make_error(f"{section}.seed", "seed = 0")
        if locks is not None and not (isinstance(locks, list) and all(part in _PARTS for part in locks)):
            raise self._make_error(f"{section}.locks", f"locks = {json.dumps(_PARTS)}")
        if skip is not None and not isinstance(skip, bool):
            raise self._make_error(f"{section}.skip", "skip = true")
        return PersonLook(
            prompt,
            None if strength is None else float(strength),
            seed,
            None if locks is None else tuple(locks),
            bool(skip),
        )

    def _parse_merges(self, value: Any) -> dict[int, int]:
        """Map each number to the lowest one that it is merged with, through any number of lists."""
        groups = value if isinstance(value, list) and all(isinstance(part, list) for part in value) else [value]
        merged: list[set[int]] = []
        for group in groups:
            if not isinstance(group, list) or not all(type(number) is int and number > 0 for number in group):
                raise self._make_error("merge", "merge = [[3, 7]]")
            joined, separate = set(group), []
            for other in merged:
                if other & joined:
                    joined |= other
                else:
                    separate.append(other)
            merged = [*separate, joined]
        return {number: min(group) for group in merged for number in group if number != min(group)}

    def _parse_labels(self, value: Any, key: str) -> tuple[FaceLabel, ...]:
        if not isinstance(value, list):
            raise self._make_error(key, '["photo.jpg@812,340"]')
        matches = [_LABEL.fullmatch(label) if isinstance(label, str) else None for label in value]
        labels = [
            FaceLabel(match["photo"], float(match["x"]), float(match["y"])) for match in matches if match is not None
        ]
        if len(labels) < len(matches):
            raise self._make_error(key, '["photo.jpg@812,340"]')
        return tuple(labels)

    def _expect_table(self, value: Any, key: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._make_error(key, "[person.3]")
        return value

    def _check_keys(self, table: Mapping[str, Any], known: Collection[str], section: str) -> None:
        for key in table:
            if key not in known:
                full_key = f"{section}.{key}" if section else key
                raise BadRequest("looks-key-unknown", path=self._path, key=full_key, known=list(known))

    def _make_error(self, key: str, example: str) -> BadRequest:
        return BadRequest("looks-value-wrong", path=self._path, key=key, example=example)
