"""Photos of one person with real searches in two processes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.local import protect_here
from c2p_core.batch.processes import protect_in_processes
from c2p_core.faces import find_faces
from c2p_core.models.store import ModelStore
from c2p_core.people.listing import ListedFace, Listing
from c2p_core.people.looks_file import Looks
from c2p_core.people.shoot import ShootLooks
from c2p_core.photo import Photo
from tests.batch.one_person import Shoot


def protect_in_turn(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Protects each photo once the one before is recorded."""
    return protect_here(map(await_turn, items), job, control)


def await_turn(item: Item) -> Item:
    while item.number and not Path(item.path).with_name(f"{item.number - 1}.recorded").exists():
        time.sleep(0.05)
    return item


@pytest.mark.slow
def test_a_search_starts_from_what_another_process_found_for_the_person(tmp_path: Path, store: ModelStore) -> None:
    portrait = data.astronaut()[:300, 50:350]
    (face, *_) = find_faces(Photo(portrait), store)
    items = [Item(number, str(tmp_path / f"{number}.png"), f"{number}.png") for number in range(2)]
    for item, picture in zip(items, (portrait, np.roll(portrait, 8, axis=1)), strict=True):
        Image.fromarray(picture).save(item.path)
    faces = tuple(ListedFace(item.place, 1, face.box, 1) for item in items)
    looks = ShootLooks(Looks(), Listing(tuple(item.place for item in items), faces), tmp_path)
    outcomes = []
    engine = protect_in_processes(2, protect_in_turn)
    for outcome in Shoot(items, looks).protect(engine, store, job=Job({"faces": "all", "steps": 2})):
        Path(outcome.item.path).with_suffix(".recorded").touch()
        outcomes.append(outcome)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    # A warm start halves the steps.
    assert [outcome.report["faces"][0]["steps"] for outcome in outcomes] == [2, 1]
    assert [len(outcome.traces[1]) for outcome in outcomes] == [1, 1]
