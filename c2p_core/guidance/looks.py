"""From words to product codes: what a look is for the renderer, and which look a search should start from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from c2p_core.guidance.vocabulary import COLOURS, Look, parse, sample_look
from c2p_core.priors.products import PRODUCTS, bare_code, product_row

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

_ASKED = 20
_RANDOM = 12
# A random look must beat those that the prompt names by this much of the cosine.
_ADVANTAGE = 0.15


def look_code(look: Look) -> Tensor:
    """The (9, 6) product code of a look; products that it doesn't name are absent."""
    code = bare_code()
    for touch in look:
        name = "black" if touch.product == "lashes" else touch.colour
        colour = None if name is None else COLOURS[name]
        code[PRODUCTS.index(touch.product)] = product_row(touch.product, colour, touch.intensity, touch.spread)
    return code


def candidate_looks(prompt: str, rng: random.Random) -> tuple[tuple[Look, ...], tuple[Look, ...]]:
    """Looks to choose a start from: those that the prompt's words name, in several versions, and random ones."""
    asked = []
    for number in range(_ASKED):
        look = parse(prompt, rng)
        if look is None:
            break
        # The first is meant literally, the others vary how much and how far.
        spread = 0.0 if number == 0 else 0.15
        asked.append(
            tuple(
                replace(
                    touch,
                    intensity=min(0.97, max(0.2, touch.intensity + rng.uniform(-spread, spread))),
                    spread=min(1.0, max(0.0, touch.spread + rng.uniform(-2 * spread, 2 * spread))),
                )
                for touch in look
            )
        )
    return tuple(asked), tuple(sample_look(rng)[0] for _ in range(_RANDOM))


@torch.no_grad()
def starting_look(
    prompt: str, render: Callable[[Tensor], Tensor], mesh: Tensor, guidance: TextGuidance, seed: int = 0
) -> Tensor:
    """The product code whose picture, of some dozens on this very face, changes most as the prompt says.

    Args:
        prompt: makeup in words.
        render: (9, 6) product code to the made-up face, (3, 256, 256) sRGB.
        mesh: (468, 2) of the face, in canvas pixels.
        guidance: judges the pictures.
        seed: of the candidates.

    Returns:
        (9, 6); the bare code when the prompt asks for no makeup.
    """
    asked, others = candidate_looks(prompt, random.Random(seed))
    if asked and not asked[0]:
        return bare_code()
    direction = guidance.direction(prompt)
    frame = guidance.frame(mesh)
    before = guidance.embed(render(bare_code())[None], frame)
    best, best_score = bare_code(), float("-inf")
    for number, look in enumerate((*asked, *others)):
        code = look_code(look)
        score = -float(guidance.loss(before, render(code)[None], direction, frame))
        if asked and number >= len(asked):
            score -= _ADVANTAGE
        if score > best_score:
            best, best_score = code, score
    return best
