"""Black-and-white photos in another ink than black are painted in their own inks."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from c2p_core.api import Face, ProtectRequest
from c2p_core.direction import Direction, FaceChange
from c2p_core.faces.align import CANVAS, Alignment
from c2p_core.faces.amounts import AS_FOUND
from c2p_core.faces.canvas import CanvasFace, make_unpainted_change
from c2p_core.faces.paste import paste
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import make_bare_code, product_row
from c2p_core.sketch import Sketch
from c2p_core.subjects import Subject
from c2p_core.tone_curve import fit_tone_curve, is_toned

LEVELS = np.linspace(0, 1, 256)
# (256, 3) colour of each level of grey, as print-makers and programs tone them.
_INKS = {
    "sepia": np.stack([LEVELS**0.8, LEVELS, LEVELS**1.35], 1),
    "cyanotype": np.stack([LEVELS**1.8, LEVELS**1.05, 0.1 + 0.9 * LEVELS**0.65], 1),
    "selenium": np.stack([LEVELS + 0.06 * LEVELS * (1 - LEVELS), LEVELS, LEVELS + 0.03 * LEVELS * (1 - LEVELS)], 1),
    "split": LEVELS[:, None]
    + np.clip(1 - 2 * LEVELS, 0, 1)[:, None] * np.array([-0.04, 0, 0.08])
    + np.clip(2 * LEVELS - 1, 0, 1)[:, None] * np.array([0.03, 0.01, -0.08]),
}
INKS = {name: np.rint(255 * np.clip(ink, 0, 1)).astype(np.uint8) for name, ink in _INKS.items()}
inks = pytest.mark.parametrize("ink", INKS)


def tone(grey: NDArray[np.uint8], ink: str) -> NDArray[np.uint8]:
    return INKS[ink][grey]


def measure_furthest(pixels: NDArray[np.uint8], ink: str) -> int:
    """Levels between the ink's curve and the pixel that is furthest from it, apart from one in a thousand."""
    colours = np.unique(pixels.reshape(-1, 3), axis=0).astype(int)
    distances = np.abs(colours[:, None] - INKS[ink][None].astype(int)).max(-1).min(1)
    return int(np.percentile(distances, 99.9))


def astronaut(ink: str | None) -> NDArray[np.uint8]:
    picture = Image.fromarray(data.astronaut()[40:240, 120:320])
    return np.asarray(picture) if ink is None else tone(np.asarray(picture.convert("L")), ink)


@inks
@pytest.mark.parametrize("quality", [None, 80])
def test_toned_pictures_are_distinguished_from_colour_pictures(ink: str, quality: int | None) -> None:
    for picture, expected in ((astronaut(ink), True), (astronaut(None), False)):
        if quality is not None:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=quality)
            picture = np.asarray(Image.open(file))
        blocks = picture.reshape(100, 2, 100, 2, 3).mean((1, 3)).reshape(-1, 3) / 255
        assert is_toned(blocks) is expected


@inks
@pytest.mark.parametrize("density", [-0.7, -0.005, 0.005, 0.3, 1.2])
def test_density_changes_follow_the_curve(ink: str, density: float) -> None:
    linear = (torch.from_numpy(INKS[ink].T / 255).float()) ** 2.2
    curve = fit_tone_curve(linear.repeat(1, 40))
    assert curve is not None
    middle = linear[:, 90:180]
    added = density * curve.follow(middle, torch.full((90,), density))
    after = (middle * torch.exp(-added)).clamp(0, 1) ** (1 / 2.2)
    distances = (after[:, :, None] - linear[:, None] ** (1 / 2.2)).abs().amax(0).amin(1)
    assert float(distances.max()) < 2.5 / 255


def test_a_picture_of_one_tone_has_no_curve() -> None:
    assert fit_tone_curve(torch.full((3, 500), 0.5)) is None


@inks
def test_a_toned_photo_is_painted_along_its_own_curve(
    astronaut_canvas: CanvasFace, store: ModelStore, ink: str
) -> None:
    grey = np.asarray(
        Image.fromarray((astronaut_canvas.pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).convert("L")
    )
    pixels = tone(grey, ink)
    canvas = replace(astronaut_canvas, pixels=torch.from_numpy(pixels).permute(2, 0, 1) / 255)
    look = make_bare_code()
    look[PRODUCTS.index("lips")] = product_row("lips", (0.7, 0.05, 0.1), 0.8)
    prior = MakeupPrior(load_basis(store.obtain("complexion")), torch.device("cpu"))
    face = prior.invert(canvas, 0.7).with_look(look)
    after = paste(Photo(pixels), [(Alignment(np.eye(2, 3)), face.change(face.start()))]).pixels
    assert np.abs(after.astype(int) - pixels).max() > 15
    assert measure_furthest(after, ink) <= 3
    shown = face.render(face.start()).pixels
    assert measure_furthest(np.rint(255 * shown.permute(1, 2, 0).numpy()).astype(np.uint8), ink) <= 3


def test_the_preview_of_a_finished_search_follows_the_photos_curve(
    astronaut_face: Face, astronaut_canvas: CanvasFace, store: ModelStore
) -> None:
    photo = Photo(tone(np.asarray(Image.fromarray(data.astronaut()).convert("L")), "sepia"))
    darker = torch.zeros(3, CANVAS, CANVAS)
    darker[:, 60:200, 60:200] = 0.4
    change = make_unpainted_change(torch.zeros(2, 4, 4), darker, toned=True)
    subject = Subject(astronaut_face, astronaut_canvas, astronaut_face, astronaut_canvas)
    request = ProtectRequest(photo)
    direction = Direction(
        request,
        (astronaut_face,),
        (FaceChange(subject, change, {}, 1, 0.0),),
        (),
        (),
        torch.device("cpu"),
        store,
        (),
    )
    size = photo.width, photo.height
    before, after = Sketch(direction).render((0, 0, *size), size, AS_FOUND)
    assert (after != before).any()
    assert measure_furthest(after, "sepia") <= 2
