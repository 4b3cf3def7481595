"""From words to the renderer's numbers, and the choice of a look to start from."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from c2p_core.colour import lab, srgb_to_linear
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.looks import draw_candidates
from c2p_core.guidance.vocabulary import PIGMENTS, Touch, choose_makeup, parse
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import decode
from c2p_core.starting_look import choose_starting_look, encode_look


class LikesColour:
    """A judge that is the happier the nearer the picture's mean colour is to the one it likes."""

    def __init__(self, *colour: float) -> None:
        self.liked = torch.tensor(colour)

    def direction(self, prompt: str) -> Tensor:
        return self.liked

    def sampling_grid(self, mesh: Tensor) -> Tensor:
        return mesh

    def embed(self, images: Tensor, grid: Tensor) -> Tensor:
        return images.mean((2, 3))

    def loss(self, before: Tensor, after: Tensor, direction: Tensor, grid: Tensor) -> Tensor:
        distance: Tensor = torch.linalg.vector_norm(self.embed(after, grid)[0] - direction)
        return distance


def colour_of(product: str) -> Callable[[Tensor], Tensor]:
    """Renders a picture in the colour of a product, dark when it is absent."""

    def render(code: Tensor) -> Tensor:
        decoded = decode(code)
        index = PRODUCTS.index(product)
        return (decoded.pigment[index] * decoded.opacity[index])[:, None, None].expand(3, 8, 8)

    return render


lip_colour = colour_of("lips")


def judge(*colour: float) -> TextGuidance:
    return cast(TextGuidance, LikesColour(*colour))


def choose(prompt: str, *colour: float, seed: int = 0) -> Tensor:
    return choose_starting_look(prompt, lip_colour, torch.zeros(468, 2), judge(*colour), seed)


def test_a_look_paints_its_products_only() -> None:
    opacity = decode(encode_look((Touch("lips", "red", 0.8), Touch("blush", "peach", 0.4)))).opacity
    assert {name for name, value in zip(PRODUCTS, opacity, strict=True) if value > 0} == {"lips", "blush"}


def test_the_first_candidate_is_the_prompt_taken_literally() -> None:
    looks = draw_candidates("bold red lipstick", random.Random(0))
    assert looks[0] == parse("bold red lipstick", random.Random(0))


# A judge that would rather have red lips than anything else, and one that likes them pale.
@pytest.mark.parametrize("liked", [(0.4, 0.02, 0.02), (0.9, 0.6, 0.6)])
@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "natural makeup",
        "natural look",
        "no makeup look",
        "soft",
        "soft natural makeup",
        "everyday",
        "everyday makeup",
        "subtle",
        "subtle makeup",
        "fresh",
        "office makeup",
        "a man with light makeup",
        "nude makeup",
        "like a film star",
        "a man with black hair",
        "without red lipstick",
    ],
)
def test_no_coloured_product_without_a_coloured_word(prompt: str, liked: tuple[float, float, float]) -> None:
    for seed in range(5):
        opacity = decode(choose(prompt, *liked, seed=seed)).opacity
        assert [name for name, value in zip(PRODUCTS, opacity, strict=True) if value > 0] == []


@pytest.mark.parametrize(
    ("prompt", "products"),
    [
        ("natural lipstick", {"lips"}),
        ("nude lips", {"lips"}),
        ("natural makeup with a bit of blush", {"blush"}),
        ("natural glow", {"highlight"}),
        ("purple makeup", {"lips", "eyeshadow"}),
        ("red lipstick and smoky eyes", {"lips", "eyeshadow", "eyeliner", "lashes"}),
    ],
)
def test_only_what_the_prompt_names_is_painted(prompt: str, products: set[str]) -> None:
    painted = {touch.product for seed in range(20) for touch in choose_makeup(prompt, random.Random(seed))}
    assert painted == products


@pytest.mark.parametrize("prompt", ["natural lipstick", "nude lips", "natural makeup and lipstick"])
def test_natural_lipstick_has_the_tone_of_lips(prompt: str) -> None:
    for seed in range(10):
        (touch,) = choose_makeup(prompt, random.Random(seed))
        assert touch.colour is not None and touch.intensity < 0.65
        _, reddish, yellowish = lab(srgb_to_linear(torch.tensor(PIGMENTS[touch.colour])[:, None, None])).flatten()
        assert 10 < float(reddish) < 35
        assert float(yellowish) < 25


@pytest.mark.parametrize(
    "prompt",
    [
        "smoky eyes",
        "smokey eye",
        "smoky makeup",
        "smoky eyeshadow",
        "dramatic smoky eyes",
        "red lipstick and smoky eyes",
        "smoky eyes with blue eyeliner",
        "evening makeup",
        "heavy makeup",
    ],
)
@pytest.mark.parametrize("liked", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.6)])
def test_smoky_without_a_colour_is_grey_to_brown(prompt: str, liked: tuple[float, float, float]) -> None:
    shadow = PRODUCTS.index("eyeshadow")
    for seed in range(5):
        code = choose_starting_look(prompt, colour_of("eyeshadow"), torch.zeros(468, 2), judge(*liked), seed)
        assert float(decode(code).opacity[shadow]) > 0.3
        # Also as far off as a search may take it.
        for signs in itertools.product((-0.08, 0.0, 0.08), repeat=3):
            code_there = code.clone()
            code_there[shadow, :3] += torch.tensor(signs)
            light, reddish, yellowish = lab(decode(code_there).pigment[shadow][:, None, None]).flatten().tolist()
            assert light < 32
            assert yellowish > 2  # neither blue nor purple
            assert -1 < reddish < yellowish + 6  # neither green nor plum


@pytest.mark.parametrize(
    ("prompt", "colour"),
    [
        ("smoky blue eyes", "blue"),
        ("blue smoky eyes", "blue"),
        ("smoky eyes in green", "green"),
        ("smoky purple", "purple"),
    ],
)
def test_smoky_with_a_colour_is_that_colour_darkened(prompt: str, colour: str) -> None:
    eyes = next(touch for touch in choose_makeup(prompt, random.Random(0)) if touch.product == "eyeshadow")
    assert eyes.colour is not None
    smoky, plain = (
        lab(srgb_to_linear(torch.tensor(PIGMENTS[name])[:, None, None])).flatten() for name in (eyes.colour, colour)
    )
    assert float(smoky[0]) < float(plain[0]) - 5
    assert float(torch.cosine_similarity(smoky[1:], plain[1:], 0)) > 0.9


def test_the_text_model_chooses_among_variants_of_the_prompt() -> None:
    chosen = {
        likes: lip_colour(choose("natural lipstick", *likes))[:, 0, 0] for likes in ((0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
    }
    assert not torch.equal(*chosen.values())


def test_what_the_prompt_names_is_kept_against_a_weak_preference() -> None:
    code = choose("green lipstick", 0.05, 0.2, 0.05)
    _, green, blue = lip_colour(code)[:, 0, 0]
    assert green > blue


def test_no_makeup_starts_without_products() -> None:
    assert float(decode(choose("no makeup", 1.0, 0.0, 0.0)).opacity.max()) == 0.0


def test_the_same_seed_chooses_the_same_look() -> None:
    assert torch.equal(choose("gothic", 0.1, 0.0, 0.0, seed=3), choose("gothic", 0.1, 0.0, 0.0, seed=3))
