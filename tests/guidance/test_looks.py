"""From words to the renderer's numbers, and the choice of a look to start from."""

from __future__ import annotations

import random
from typing import cast

import torch
from torch import Tensor

from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.looks import candidate_looks, look_code, starting_look
from c2p_core.guidance.vocabulary import Touch, parse
from c2p_core.priors.products import PRODUCTS, decode


class LikesColour:
    """A judge that is the happier the nearer the picture's mean colour is to the one it likes."""

    def __init__(self, *colour: float) -> None:
        self.liked = torch.tensor(colour)

    def direction(self, prompt: str) -> Tensor:
        return self.liked

    def frame(self, mesh: Tensor) -> Tensor:
        return mesh

    def embed(self, images: Tensor, frame: Tensor) -> Tensor:
        return images.mean((2, 3))

    def loss(self, before: Tensor, after: Tensor, direction: Tensor, frame: Tensor) -> Tensor:
        distance: Tensor = torch.linalg.vector_norm(self.embed(after, frame)[0] - direction)
        return distance


def lip_colour(code: Tensor) -> Tensor:
    """A picture in the colour of the lips, dark when there is no lipstick."""
    made = decode(code)
    index = PRODUCTS.index("lips")
    return (made.pigment[index] * made.opacity[index])[:, None, None].expand(3, 8, 8)


def choose(prompt: str, *colour: float, seed: int = 0) -> Tensor:
    return starting_look(prompt, lip_colour, torch.zeros(468, 2), cast(TextGuidance, LikesColour(*colour)), seed)


def test_a_look_paints_its_products_only() -> None:
    opacity = decode(look_code((Touch("lips", "red", 0.8), Touch("blush", "peach", 0.4)))).opacity
    assert {name for name, value in zip(PRODUCTS, opacity, strict=True) if value > 0} == {"lips", "blush"}


def test_the_first_candidate_is_the_prompt_taken_literally() -> None:
    asked, _ = candidate_looks("bold red lipstick", random.Random(0))
    assert asked[0] == parse("bold red lipstick", random.Random(0))


def test_words_that_name_no_look_leave_random_ones() -> None:
    asked, others = candidate_looks("like a film star", random.Random(0))
    assert asked == ()
    assert len(others) > 5


def test_the_judge_decides_among_random_looks() -> None:
    code = choose("like a film star", 0.4, 0.02, 0.02)
    red, green, _ = lip_colour(code)[:, 0, 0]
    assert red > green + 0.05


def test_what_the_prompt_names_is_kept_against_a_weak_preference() -> None:
    code = choose("green lipstick", 0.05, 0.2, 0.05)
    _, green, blue = lip_colour(code)[:, 0, 0]
    assert green > blue


def test_no_makeup_starts_without_products() -> None:
    assert float(decode(choose("no makeup", 1.0, 0.0, 0.0)).opacity.max()) == 0.0


def test_the_same_seed_chooses_the_same_look() -> None:
    assert torch.equal(choose("gothic", 0.1, 0.0, 0.0, seed=3), choose("gothic", 0.1, 0.0, 0.0, seed=3))
