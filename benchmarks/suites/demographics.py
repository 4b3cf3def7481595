"""How the people of the benchmark appear in their photos, for results by group; not how they describe themselves."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.data import SHARED_FACES
from benchmarks.metrics import skin
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.rows import Person
from c2p_core import faces
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore

# By the angle of `skin.measure_skin_tone`. Its usual groups are meant for skin in even light; in pictures with other
# light they put nearly everybody among the darkest, so the measured people are divided into thirds.
THIRDS = ("darkest third of skin", "middle third of skin", "lightest third of skin")

# Words in labels, and the group that they indicate. Most labels indicate no group.
_WORDS = {
    r"wom[ae]n|lipstick|traditional makeup": "labelled as a woman",
    r"m[ae]n|beard|sideburns|moustache|mustache": "labelled as a man or with a beard",
    r"old age|elderly|senior|[6-9]0 year old": "labelled old",
    r"african|afro": "labelled African or afro",
    r"asian|indian|irish|south-american|latin|arab": "labelled with another origin",
    r"glasses|sunglasses": "labelled with glasses",
}


def describe_person(photo: Path, store: ModelStore) -> Person:
    """Measure one photo's largest face."""
    picture = photo_files.read(photo)
    face = next((f for f in faces.find_faces(picture, store) if not f.skipped), None)
    tone = None if face is None else skin.measure_skin_tone(to_rgb8(picture), face)
    return Person(photo.stem, tone, read_labels().get(photo.stem, ""))


def read_labels(listing: Path = SHARED_FACES / "faces.csv") -> dict[str, str]:
    """Read the label of each face from the shared list; empty without the list."""
    if not listing.is_file():
        return {}
    with listing.open(encoding="utf-8", newline="") as file:
        return {line["id"]: line["row_label"] for line in csv.DictReader(file)}


def group_people(people: Iterable[Person]) -> dict[str, set[str]]:
    """Faces by group: each in a third by skin tone, if skin is visible, and in the groups that its label indicates."""
    groups: dict[str, set[str]] = {}
    listed = list(people)
    by_tone = sorted((person.tone, person.face) for person in listed if person.tone is not None)
    for index, (_, face) in enumerate(by_tone):
        groups.setdefault(THIRDS[index * 3 // len(by_tone)], set()).add(face)
    for person in listed:
        for pattern, name in _WORDS.items():
            if re.search(rf"\b(?:{pattern})\b", person.label):
                groups.setdefault(name, set()).add(person.face)
    return groups
