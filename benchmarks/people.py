"""How the people of the benchmark look, for results by group. Apparent, and from pictures alone: nobody was asked."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from benchmarks import metrics
from benchmarks.data import SHARED_FACES
from benchmarks.rows import Person
from c2p_core import faces, imageio
from c2p_core.models.store import ModelStore

# Degrees of the individual typology angle; the six usual groups, two and two together, for want of faces.
_TONES = ((41.0, "lighter skin"), (10.0, "medium skin"))
_DARKEST = "darker skin"

# Words of a label, and what they say. Most labels say nothing of the kind.
_WORDS = {
    r"wom[ae]n|lipstick|traditional makeup": "labelled as a woman",
    r"m[ae]n|beard|sideburns|moustache|mustache": "labelled as a man or with a beard",
    r"old age|elderly|senior|[6-9]0 year old": "labelled old",
    r"african|afro": "labelled African or afro",
    r"asian|indian|irish|south-american|latin|arab": "labelled with another origin",
    r"glasses|sunglasses": "labelled with glasses",
}


def person(photo: Path, store: ModelStore) -> Person:
    """Measure one photo's largest face."""
    picture = imageio.read(photo)
    face = next((f for f in faces.find_faces(picture, store) if not f.skipped), None)
    tone = None if face is None else metrics.skin_tone(metrics.rgb8(picture), face)
    return Person(photo.stem, tone, labels().get(photo.stem, ""))


def labels(listing: Path = SHARED_FACES / "faces.csv") -> dict[str, str]:
    """What the shared list calls each face; nothing without the list."""
    if not listing.is_file():
        return {}
    with listing.open(encoding="utf-8", newline="") as file:
        return {line["id"]: line["row_label"] for line in csv.DictReader(file)}


def groups(person: Person) -> tuple[str, ...]:
    """The groups somebody belongs to: one by tone of skin, and those that the label names."""
    found = []
    if person.tone is not None:
        found.append(next((name for least, name in _TONES if person.tone > least), _DARKEST))
    found += [name for words, name in _WORDS.items() if re.search(rf"\b(?:{words})\b", person.label)]
    return tuple(found)
