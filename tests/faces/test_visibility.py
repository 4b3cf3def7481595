"""What covers a face is found and left alone; what belongs to a face is no cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from c2p_core.api import Face, ProtectRequest, ProtectResult
from c2p_core.errors import Message, NoFace
from c2p_core.faces import find_faces, find_faces_in, find_visible, regions, skip_covered
from c2p_core.faces import visibility as finding
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.view import View
from c2p_core.guidance.vocabulary import Touch
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.pipeline import protect
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.starting_look import encode_look, leave_out_hidden
from tests.error_assertions import raising

_JAW = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)
_EYES = (33, 159, 386, 263)


def cover_with(
    photo: Photo, outline: NDArray[np.floating], colour: tuple[int, int, int]
) -> tuple[Photo, NDArray[np.bool_]]:
    """The photo with a polygon before it, and the (H, W) mask of its pixels."""
    image, cover = Image.fromarray(photo.pixels), Image.new("1", photo.pixels.shape[1::-1])
    corners = [(float(x), float(y)) for x, y in outline]
    ImageDraw.Draw(image).polygon(corners, fill=colour)
    ImageDraw.Draw(cover).polygon(corners, fill=1)
    return Photo(np.array(image)), np.array(cover)


@pytest.fixture(scope="module")
def masked(astronaut: Photo, astronaut_face: Face) -> tuple[Photo, NDArray[np.bool_]]:
    """The astronaut with a light blue mask from the bridge of the nose to below the chin."""
    mesh = astronaut_face.mesh
    return cover_with(astronaut, np.concatenate([mesh[list(_JAW)] * [1, 1.01], mesh[[346, 197, 117]]]), (165, 200, 222))


@pytest.fixture(scope="module")
def on_masked(masked: tuple[Photo, NDArray[np.bool_]], store: ModelStore) -> CanvasFace:
    from c2p_core.verify import crop_face

    view = View(masked[0])
    (face,) = find_faces_in(view, store)
    return replace(crop_face(view, face), visible=find_visible(view, [face], store)[1])


def patch(mesh: NDArray[np.float32], size: float, sure: float = 0.95) -> NDArray[np.float32]:
    """(256, 256) probabilities of a round cover on the mouth with this radius in canvas pixels."""
    y, x = np.mgrid[:CANVAS, :CANVAS] + 0.5
    centre = mesh[13]
    return np.where(np.hypot(x - centre[0], y - centre[1]) < size, sure, 0.05).astype(np.float32)


def test_nothing_is_found_on_a_bare_face(astronaut: Photo, astronaut_face: Face, store: ModelStore) -> None:
    assert find_visible(View(astronaut), [astronaut_face], store) == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: (pixels * 0.35).astype(np.uint8),
        lambda pixels: np.repeat(pixels.mean(-1, keepdims=True), 3, -1).astype(np.uint8),
        lambda pixels: (pixels * np.linspace(1.3, 0.1, 512)[:, None].clip(0, 1)).astype(np.uint8),
    ],
    ids=["in the dark", "in grey", "lit from a side"],
)
def test_light_is_not_taken_for_a_cover(
    astronaut: Photo, store: ModelStore, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    view = View(Photo(np.ascontiguousarray(change(astronaut.pixels))))
    assert find_visible(view, find_faces_in(view, store), store) == {}


def test_a_mask_is_found_and_the_eyes_are_seen(on_masked: CanvasFace) -> None:
    mesh, visible = on_masked.mesh.numpy(), on_masked.visible
    assert visible is not None
    x, y = np.round(mesh[[13, 14, 17, 205, 425, 2]]).astype(int).T
    assert visible.numpy()[y, x].max() == 0.0
    x, y = np.round(mesh[list(_EYES)]).astype(int).T
    assert visible.numpy()[y, x].min() > 0.9


def test_a_speck_or_an_uncertain_area_is_not_taken_for_a_cover(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    assert finding.visible_mask(patch(mesh, 4.0), mesh) is None
    assert finding.visible_mask(patch(mesh, 40.0, sure=0.6), mesh) is None
    assert finding.visible_mask(patch(mesh, 40.0), mesh) is not None


def test_a_cover_and_its_edge_stay_untouched(astronaut_canvas: CanvasFace) -> None:
    mesh = astronaut_canvas.mesh.numpy()
    visible = finding.visible_mask(patch(mesh, 30.0), mesh)
    assert visible is not None
    x, y = np.round(mesh[13]).astype(int)
    assert visible[y, x + 31] == 0.0 and visible[y, x + 45] == 1.0
    movable = finding.movable_mask(visible.numpy())
    assert movable[y, x + 31] == 0.0 and 0.0 < movable[y, x + 45] < 1.0


def test_products_and_movement_stay_off_the_cover(on_masked: CanvasFace, store: ModelStore) -> None:
    basis = load_basis(store.obtain("complexion"))
    face = MakeupPrior(basis, torch.device("cpu")).invert(on_masked, 1.0)
    look = encode_look((Touch("lips", "red", 1.0), Touch("eyeshadow", "black", 1.0)))
    face = face.with_look(look)
    generator = torch.Generator().manual_seed(0)
    code = {name: 3 * torch.randn(part.shape, generator=generator) for name, part in face.start().items()}
    change = face.change(code)
    painted = (change.density + change.paint(change.maps).sum(0)).abs().amax(0)
    visible = on_masked.visible
    assert visible is not None
    # The grids of grain and movement are coarser than the mask; its margin leaves room for that.
    hidden = torch.nn.functional.max_pool2d(visible[None], 9, 1, 4)[0] == 0.0
    assert painted[hidden].max() < 1e-3
    assert painted[visible > 0.9].max() > 0.3
    moved = torch.nn.functional.interpolate(change.displacement[None], (CANVAS, CANVAS), mode="nearest")[0].norm(dim=0)
    assert moved[hidden].max() < 0.05 < moved.max()


def test_maps_see_skin_in_place_of_the_cover(on_masked: CanvasFace) -> None:
    mesh, visible = on_masked.mesh.numpy(), on_masked.visible
    assert visible is not None
    uncovered = finding.uncover(on_masked.pixels, visible, mesh)
    x, y = np.round(mesh[13]).astype(int)
    red, green, blue = uncovered[:, y, x]
    assert red > green > blue  # skin, where the mask is light blue
    likeness = regions.skin_likeness(uncovered.permute(1, 2, 0).numpy(), mesh)
    cheek = np.round(mesh[118]).astype(int)
    assert likeness[cheek[1], cheek[0]] > 0.8


def test_products_that_are_hidden_are_named_and_left_out(on_masked: CanvasFace) -> None:
    look = encode_look((Touch("lips", "red", 1.0), Touch("eyeshadow", "black", 1.0)))
    remaining, hidden = leave_out_hidden(look, on_masked)
    assert hidden == ("Lipstick",)
    assert remaining.equal(encode_look((Touch("eyeshadow", "black", 1.0),)))
    remaining, hidden = leave_out_hidden(look, replace(on_masked, visible=None))
    assert hidden == () and remaining.equal(look)


def test_a_face_that_is_too_covered_is_listed_with_the_reason(astronaut: Photo, astronaut_face: Face) -> None:
    (face,) = skip_covered([astronaut_face], {1: torch.full((CANVAS, CANVAS), 0.2)})
    assert face.skipped == Message("face-covered", covered=80, most=67)
    (face,) = skip_covered([astronaut_face], {1: torch.full((CANVAS, CANVAS), 0.5)})
    assert face.skipped is None


def test_a_photo_with_nothing_but_a_covered_face_is_refused(
    astronaut: Photo, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.zeros(CANVAS, CANVAS)
    monkeypatch.setattr("c2p_core.subjects.find_visible", lambda *_: {1: nothing})
    with raising(NoFace, "no-face-usable", why=Message("face-covered", covered=100, most=67)):
        protect(ProtectRequest(astronaut), store=store)


@pytest.fixture(scope="module")
def result(masked: tuple[Photo, NDArray[np.bool_]], store: ModelStore) -> ProtectResult:
    return protect(ProtectRequest(masked[0], prompt="red lipstick and smoky eyes", steps=2), store=store)


def test_a_protected_photo_keeps_the_pixels_of_the_mask(
    masked: tuple[Photo, NDArray[np.bool_]], result: ProtectResult
) -> None:
    photo, mask = masked
    changed = (photo.pixels != result.photo.pixels).any(-1)
    assert changed.sum() > 1000
    assert (changed & mask).sum() < 0.02 * changed.sum()
    assert "products-covered" in [warning.code for warning in result.warnings]


def test_a_covered_face_is_still_found_among_the_faces_of_a_photo(
    masked: tuple[Photo, NDArray[np.bool_]], store: ModelStore
) -> None:
    (face,) = find_faces(masked[0], store)
    assert face.skipped is None
