"""Chooses the look that the search starts from, among variants of the look that a prompt describes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from c2p_core.errors import Message
from c2p_core.guidance.vocabulary import Look, choose_makeup, read_prompt

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

_CANDIDATES = 20


def draw_candidates(prompt: str, rng: random.Random) -> tuple[Look, ...]:
    """Draw variants of the prompt's look; each has exactly the products that the prompt asks for."""
    looks = []
    for number in range(_CANDIDATES):
        # The first is taken literally, the others vary intensity and spread.
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


def list_prompt_warnings(prompt: str) -> list[Message]:
    """Warnings for the user about words that the text model doesn't know, and about a prompt that names no makeup."""
    reading = read_prompt(prompt)
    warnings = [
        Message("word-unknown-like", word=word, words=list(closest)) if closest else Message("word-unknown", word=word)
        for word, closest in reading.unknown
    ]
    if prompt.strip() and not reading.known:
        warnings.append(Message("prompt-without-makeup"))
    return warnings


@torch.no_grad()
def choose_look(
    prompt: str, render: Callable[[Look], Tensor], mesh: Tensor, guidance: TextGuidance, seed: int = 0
) -> Look:
    """Choose the variant of the prompt's look that the text model rates best on this face.

    Args:
        prompt: makeup style in words.
        render: renders the face with a look, as (3, 256, 256) sRGB.
        mesh: (468, 2) landmarks of the face, in canvas pixels.
        guidance: rates the rendered variants.
        seed: seeds the variants.

    Returns:
        the look; empty when the prompt asks for no product.
    """
    candidates = draw_candidates(prompt, random.Random(seed))
    if not candidates[0]:
        return ()
    direction = guidance.direction(prompt)
    grid = guidance.sampling_grid(mesh)
    before = guidance.embed(render(())[None], grid)
    # The text model only chooses among variants; the products follow from the words of the prompt.
    return min(candidates, key=lambda look: float(guidance.loss(before, render(look)[None], direction, grid)))
