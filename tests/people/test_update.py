"""`c2p people` from files to files: a photo of two people, one of each alone, and corrections by hand."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from skimage import data

from benchmarks.data import list_people, parse_person
from benchmarks.errors import NoData
from benchmarks.metrics.grouping import adjusted_rand_index
from c2p_core.errors import BadRequest, Message, NoFace
from c2p_core.faces import find_faces
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore
from c2p_core.people.finding import People, embed_faces, group_people, load_recogniser, similarity_threshold
from c2p_core.people.listing import Listing, read_listing
from c2p_core.people.looks_file import Looks
from c2p_core.people.results import Results
from c2p_core.people.update import update_people
from c2p_core.recognition import list_recognisers
from tests.error_assertions import raising

SAMPLES = Path(__file__).resolve().parents[2] / "bundle" / "mini" / "samples.png"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shoot")
    woman = Image.fromarray(data.astronaut()[:260, 100:360])
    # A face that the shipped generator made up.
    generated = Image.open(SAMPLES).crop((128, 128, 256, 256)).resize((260, 260), Image.Resampling.LANCZOS)
    pair = Image.new("RGB", (520, 260))
    pair.paste(woman)
    pair.paste(generated, (260, 0))
    pair.save(folder / "both.png")
    ImageEnhance.Brightness(ImageOps.mirror(woman)).enhance(0.8).save(folder / "one.png")
    ImageEnhance.Brightness(ImageOps.mirror(generated)).enhance(1.1).save(folder / "other.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def update(shoot: Path, folder: Path, store: ModelStore, *names: str) -> tuple[People, list[Message]]:
    warnings: list[Message] = []
    people, _ = update_people([shoot / f"{name}.png" for name in names], folder, store, CPU, warnings)
    return people, warnings


def map_groups(people: People) -> dict[tuple[str, int], int]:
    return {(Path(face.photo).stem, face.number): face.group for face in people.faces}


@pytest.mark.slow
def test_people_are_found_and_keep_their_numbers_and_manual_corrections(
    shoot: Path, tmp_path: Path, store: ModelStore
) -> None:
    people, warnings = update(shoot, tmp_path, store, "both", "one", "broken")
    assert [message.code for message in warnings] == ["image-format-unknown"]
    face_groups = map_groups(people)
    (stranger,) = (key for key, group in face_groups.items() if group == 0)
    assert stranger[0] == "both" and sorted(face_groups.values()) == [0, 1, 1]
    assert read_listing(tmp_path / "faces.json") == Listing(people.photos, people.faces)
    assert [Path(name).name for name in people.photos] == ["both.png", "one.png"]
    assert "Person 1" in (tmp_path / "people.html").read_text()
    if os.name == "posix":
        assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("faces.json", "people.html")} == {0o600}

    # Somebody takes one of the two out, and a photo is added: the numbers stay.
    looks = tmp_path / "looks.toml"
    label = next(face.label for face in people.faces if Path(face.photo).stem == "one")
    looks.write_text(f'nobody = ["{label}", "gone.png@1,1"]\n' + looks.read_text())
    text_before = looks.read_text()
    people, warnings = update(shoot, tmp_path, store, "both", "one", "other")
    face_groups = map_groups(people)
    assert face_groups["one", 1] == 0 and face_groups[stranger] == face_groups["other", 1] == 2
    assert face_groups["both", 3 - stranger[1]] == 1
    assert warnings == [Message("label-unmatched", label="gone.png@1,1")]
    assert looks.read_text().startswith(text_before) and "[person.2]" in looks.read_text()


def test_without_any_face_nothing_is_written(shoot: Path, tmp_path: Path, store: ModelStore) -> None:
    with raising(NoFace, "no-face-in-photos", count=1):
        update(shoot, tmp_path, store, "broken")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_looks_file_is_refused_before_any_photo_is_read(
    shoot: Path, tmp_path: Path, store: ModelStore
) -> None:
    (tmp_path / "looks.toml").write_text("[person.1]\nstrength = 3")
    with raising(BadRequest, "looks-value-wrong", key="person.1.strength"):
        update_people([shoot / "one.png"], tmp_path, store, CPU, [], lambda done: pytest.fail("a photo was read"))
    assert list(tmp_path.iterdir()) == [tmp_path / "looks.toml"]


@pytest.mark.slow
def test_protected_photos_of_earlier_runs_are_embedded_where_the_face_was(shoot: Path, store: ModelStore) -> None:
    (face,) = find_faces(photo_files.read(shoot / "one.png"), store)
    results = Results({"a": shoot / "one.png", "gone": shoot / "gone.png"})
    embeddings = results.embed("a", face.box)
    assert embeddings is not None and set(embeddings) == set(list_recognisers(store))
    assert all(np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4) for vector in embeddings.values())
    x0, y0, x1, y1 = face.box
    assert results.embed("a", (x0 + 500, y0, x1 + 500, y1)) is None
    assert results.embed("gone", face.box) is results.embed("unknown", face.box) is None


@pytest.mark.slow
def test_the_shared_photos_of_people_are_grouped_as_their_names_say(store: ModelStore) -> None:
    try:
        photos = list_people()
    except NoData as missing:
        pytest.skip(f"PEOPLE ARE NOT GROUPED AS THE SHARED PHOTOS SAY: {missing}")
    recogniser = load_recogniser(store, CPU)
    embedded, _ = embed_faces(photos.values(), next(iter(photos.values())).parent, store, recogniser, CPU, [])
    assert len(embedded) == len(photos)
    people = group_people(embedded, similarity_threshold(recogniser), Looks(), (), ())
    truth = [parse_person(label) for label in photos]
    assert adjusted_rand_index(truth, [face.group for face in people.faces]) >= 0.9
