"""From words to product codes: what a look is for the renderer, and which look a search should start from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from c2p_core.guidance.vocabulary import PIGMENTS, Look, choose_makeup
from c2p_core.priors.products import PRODUCTS, bare_code, product_row

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

_VERSIONS = 20


def look_code(look: Look) -> Tensor:
    """The (9, 6) product code of a look; products that it doesn't name are absent."""
    code = bare_code()
    for touch in look:
        name = "black" if touch.product == "lashes" else touch.colour
        colour = None if name is None else PIGMENTS[name]
        code[PRODUCTS.index(touch.product)] = product_row(touch.product, colour, touch.intensity, touch.spread)
    return code


def candidate_looks(prompt: str, rng: random.Random) -> tuple[Look, ...]:
    """Looks to choose a start from: all that the prompt asks for and nothing else, in several versions."""
    looks = []
    for number in range(_VERSIONS):
        # The first is meant literally, the others vary how much and how far.
        spread = 0.0 if number == 0 else 0.15
        looks.append(
            tuple(
                replace(
                    touch,
                    intensity=min(0.97, max(0.2, touch.intensity + rng.uniform(-spread, spread))),
                    spread=min(1.0, max(0.0, touch.spread + rng.uniform(-2 * spread, 2 * spread))),
                )
                for touch in choose_makeup(prompt, rng)
            )
        )
    return tuple(looks)


def paints_anything(prompt: str) -> bool:
    """Whether a prompt asks for any product; "natural makeup" does not."""
    return bool(choose_makeup(prompt, random.Random(0)))


@torch.no_grad()
def starting_look(
    prompt: str, render: Callable[[Tensor], Tensor], mesh: Tensor, guidance: TextGuidance, seed: int = 0
) -> Tensor:
    """The product code of what the prompt asks for, in the version that shows it best on this very face.

    Args:
        prompt: makeup in words.
        render: (9, 6) product code to the made-up face, (3, 256, 256) sRGB.
        mesh: (468, 2) of the face, in canvas pixels.
        guidance: judges the pictures.
        seed: of the candidates.

    Returns:
        (9, 6); the bare code when the prompt asks for nothing to be painted.
    """
    candidates = candidate_looks(prompt, random.Random(seed))
    if not candidates[0]:
        return bare_code()
    direction = guidance.direction(prompt)
    frame = guidance.frame(mesh)
    before = guidance.embed(render(bare_code())[None], frame)
    codes = [look_code(look) for look in candidates]
    # The judge decides among versions of what was asked; what that is is not for it to say.
    return min(codes, key=lambda code: float(guidance.loss(before, render(code)[None], direction, frame)))
