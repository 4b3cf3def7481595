"""The embedded CLIP on scikit-image's portrait: what its guidance is for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor

from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, align, crop_canvas, transform_points
from c2p_core.faces.landmarks import FaceMesh, eye_distance, to_tensor
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.vocabulary import parse
from c2p_core.models.store import ModelStore
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import decode, make_bare_code
from c2p_core.products.geometry import build_product_maps
from c2p_core.products.paint import paint_prepared, prepare_paint, skin_map
from c2p_core.starting_look import choose_starting_look, encode_look

FIVE = np.array([[205, 110], [243, 105], [227, 130], [210, 150], [245, 147]], np.float32)


@dataclass(frozen=True)
class Sitter:
    """The astronaut on her canvas: (468, 2) mesh, and her picture with each product code."""

    mesh: Tensor
    render: Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def guidance() -> TextGuidance:
    return TextGuidance(ModelStore(offline=True), torch.device("cpu"))


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    photo = to_tensor(astronaut().astype(np.float32) / np.float32(255))
    mesh, _ = FaceMesh(ModelStore(offline=True).obtain("face-mesh"))(photo, FIVE)
    alignment = align(mesh[:, :2], eye_distance(mesh))
    linear = srgb_to_linear(crop_canvas(photo, alignment).clamp(0, 1))
    on_canvas = transform_points(alignment.to_canvas, mesh[:, :2])
    regions = build_product_maps(on_canvas, CANVAS, CANVAS_EYE_DISTANCE)
    canvas = prepare_paint(regions, skin_map(linear, CANVAS_EYE_DISTANCE))
    return Sitter(
        torch.from_numpy(on_canvas),
        lambda code: linear_to_srgb(linear * torch.exp(-paint_prepared(code, canvas).sum(0))),
    )


def encode_prompt(prompt: str) -> Tensor:
    look = parse(prompt, random.Random(0))
    assert look is not None
    return encode_look(look)


PROMPTS = ("red lipstick", "bold purple lipstick", "green eyeshadow", "gothic makeup", "bold pink blush", "smoky eyes")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_change_of_the_face_is_nearest_to_its_own_caption(
    guidance: TextGuidance, sitter: Sitter, prompt: str
) -> None:
    grid = guidance.sampling_grid(sitter.mesh)
    before, after = (
        guidance.embed(sitter.render(make_bare_code())[None], grid),
        sitter.render(encode_prompt(prompt))[None],
    )
    losses = [float(guidance.loss(before, after, guidance.direction(candidate), grid)) for candidate in PROMPTS]
    assert PROMPTS[int(np.argmin(losses))] == prompt


@pytest.mark.parametrize("prompt", ["red lipstick", "green eyeshadow", "bold pink blush"])
def test_the_search_starts_with_the_products_of_the_prompt(guidance: TextGuidance, sitter: Sitter, prompt: str) -> None:
    opacity = decode(choose_starting_look(prompt, sitter.render, sitter.mesh, guidance)).opacity
    expected = decode(encode_prompt(prompt)).opacity
    assert torch.equal(opacity > 0, expected > 0)


def test_following_the_gradient_reddens_the_lips(guidance: TextGuidance, sitter: Sitter) -> None:
    code = make_bare_code()
    code[PRODUCTS.index("lips"), 3] = -1.0
    start = decode(code).opacity[PRODUCTS.index("lips")]
    grid = guidance.sampling_grid(sitter.mesh)
    before = guidance.embed(sitter.render(make_bare_code())[None], grid)
    direction = guidance.direction("bold red lipstick")
    code.requires_grad_()
    optimiser = torch.optim.Adam([code], lr=0.2)
    for _ in range(12):
        optimiser.zero_grad()
        torch.autograd.backward(guidance.loss(before, sitter.render(code)[None], direction, grid))
        optimiser.step()
    decoded = decode(code.detach())
    red, green, blue = decoded.pigment[PRODUCTS.index("lips")].tolist()
    assert red > 1.3 * green and red > 1.3 * blue
    assert decoded.opacity[PRODUCTS.index("lips")] > start
