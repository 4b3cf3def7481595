"""Results that are kept for the next run on a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from c2p_core import verify
from c2p_core.faces import find_faces
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import FaceMesh
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.recent import Recent, digest
from c2p_core.recognition import Recogniser

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_the_latest_results_are_kept_and_the_oldest_are_computed_again() -> None:
    computed: list[str] = []

    def compute(name: str) -> str:
        computed.append(name)
        return name

    recent: Recent[str] = Recent(2)
    for name in "abacab":
        assert recent.get(name.encode(), lambda name=name: compute(name)) == name  # type: ignore[misc]
    assert computed == ["a", "b", "c", "b"]


@pytest.mark.parametrize(
    "other",
    [
        (PIXELS.reshape(4, 2, 3), 1.0, ("jaw",)),
        (PIXELS.view(np.int8), 1.0, ("jaw",)),
        (PIXELS + np.uint8(1), 1.0, ("jaw",)),
        (PIXELS, True, ("jaw",)),
        (PIXELS, 1.0, ("nose",)),
        (PIXELS, 1.0, "jaw"),
        (PIXELS, 1.0, None),
    ],
)
def test_other_arguments_have_another_digest(other: tuple[object, ...]) -> None:
    assert digest(*other) != digest(PIXELS, 1.0, ("jaw",))  # type: ignore[arg-type]


def test_a_part_of_a_picture_has_the_digest_of_its_copy() -> None:
    part = PIXELS[:, 1:3]
    assert digest(part) == digest(part.copy()) != digest(PIXELS)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for each face that is detected."""
    detected: list[int] = []
    settle = FaceMesh.settle

    def count(*arguments: object) -> object:
        detected.append(1)
        return settle(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FaceMesh, "settle", count)
    return detected


def test_faces_of_the_same_picture_are_detected_once_and_those_of_others_anew(
    store: ModelStore, fits: list[int], astronaut: Photo
) -> None:
    photo = Photo(np.roll(astronaut.pixels, 3, axis=1))
    first = find_faces(photo, store)
    assert find_faces(Photo(photo.pixels.copy()), store) == first and len(fits) == 1
    moved = find_faces(Photo(np.roll(photo.pixels, 1, axis=1)), store)
    assert len(fits) == 2 and moved[0].box != first[0].box
    find_faces(replace(photo, icc=b"no profile"), store)
    assert len(fits) == 3


def test_a_face_is_inverted_once_for_each_strength_and_choice_of_what_may_move(
    store: ModelStore, astronaut_canvas: CanvasFace
) -> None:
    prior = MakeupPrior(load_basis(store.obtain("complexion")), torch.device("cpu"))
    first = prior.invert(astronaut_canvas, 0.5)
    copied = replace(astronaut_canvas, pixels=astronaut_canvas.pixels.clone())
    assert prior.invert(copied, 0.5) is first
    others = [
        prior.invert(astronaut_canvas, 0.4),
        prior.invert(astronaut_canvas, 0.5, False),
        prior.invert(astronaut_canvas, 0.5, True, ("jaw",)),
        prior.invert(replace(astronaut_canvas, visible=torch.ones(256, 256)), 0.5),
    ]
    assert first not in others


def test_a_face_is_embedded_once_by_each_recogniser() -> None:
    embedded: list[str] = []

    def make(name: str) -> Recogniser:
        def embed(pictures: Tensor, mesh: Tensor) -> Tensor:
            embedded.append(name)
            return pictures.mean((2, 3))

        return Recogniser(name, name, "MIT", 0.5, 0.6, 0.1, embed)

    recognisers, cpu = [make("a"), make("b")], torch.device("cpu")
    face = CanvasFace(torch.rand(3, 256, 256), torch.rand(468, 2))
    first = verify.embed_face(face, recognisers, cpu)
    again = verify.embed_face(CanvasFace(face.pixels.clone(), face.mesh), recognisers[::-1], cpu)
    assert embedded == ["a", "b"] and all(torch.equal(first[name], again[name]) for name in "ab")
    verify.embed_face(CanvasFace(face.pixels, face.mesh + 1), recognisers[:1], cpu)
    assert embedded == ["a", "b", "a"]
