"""Words of makeup: what is known, what they mean, what training never says."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2p_core.guidance import vocabulary
from c2p_core.guidance.vocabulary import COLOURS, Touch, parse, read_prompt, sample_look


def products_of(prompt: str, seed: int = 0) -> dict[str, str | None]:
    look = parse(prompt, random.Random(seed))
    assert look is not None
    return {touch.product: touch.colour for touch in look}


def test_colours_go_to_the_product_that_they_stand_before() -> None:
    assert products_of("red lipstick and green eyeshadow") == {"lips": "red", "eyeshadow": "green"}


def test_a_colour_may_follow_its_product() -> None:
    assert products_of("lips in plum") == {"lips": "plum"}


def test_synonyms_mean_the_same() -> None:
    assert products_of("burgundy lip colour") == products_of("dark red lipstick")


def test_two_word_colours_are_one_colour() -> None:
    assert products_of("midnight blue eye shadow") == {"eyeshadow": "navy"}


def test_a_look_is_its_products() -> None:
    assert {"lips", "eyeshadow", "eyeliner"} <= set(products_of("gothic"))


def test_a_product_changes_a_look() -> None:
    assert products_of("gothic makeup with red lipstick")["lips"] == "red"


def test_a_product_can_be_refused() -> None:
    assert "eyeliner" not in products_of("gothic makeup without eyeliner")


@pytest.mark.parametrize(
    ("prompt", "products"),
    [
        ("red lipstick without smoky eyes", {"lips": "red"}),
        ("red lipstick, not pink", {"lips": "red"}),
        ("without foundation, red lipstick", {"lips": "red"}),
        ("without bold and heavy eyeliner", {}),
    ],
)
def test_what_is_refused_is_what_the_negation_stands_before(prompt: str, products: dict[str, str]) -> None:
    assert products_of(prompt) == products


def test_another_colour_is_taken_than_the_refused_one() -> None:
    assert all(dict(products_of("lipstick, but not red", seed))["lips"] not in (None, "red") for seed in range(50))


def test_a_colour_behind_in_goes_to_the_product_before_it() -> None:
    assert products_of("lipstick in plum and eyeshadow in gold") == {"lips": "plum", "eyeshadow": "gold"}


def test_a_refused_product_comes_back_when_its_look_is_described() -> None:
    assert products_of("without eyeshadow but smoky eye makeup in grey")["eyeshadow"] == "grey"


@pytest.mark.parametrize("prompt", ["red lipstick, not too bold", "smoky eyes, not too dramatic", "not too much blush"])
def test_what_is_not_too_strong_is_of_the_usual_strength(prompt: str) -> None:
    for whole in (prompt, f"{prompt}, and strong contour"):
        look = parse(whole, random.Random(0))
        assert look is not None and 0.5 < look[0].intensity < 0.7


def test_a_product_after_a_refused_strength_is_kept() -> None:
    assert products_of("red lipstick, not too heavy, and blue eyeshadow") == {"lips": "red", "eyeshadow": "blue"}


def test_stronger_words_paint_more() -> None:
    sheer, bold = (parse(f"{word} red lipstick", random.Random(0)) for word in ("sheer", "bold"))
    assert sheer is not None and bold is not None
    assert sheer[0].intensity < bold[0].intensity


def test_captions_still_mean_what_the_text_model_was_trained_with() -> None:
    assert {products_of("smoky eyes", seed)["eyeshadow"] for seed in range(20)} == {"black", "grey"}
    assert {"lips", "blush"} <= set(products_of("natural makeup"))


def test_no_makeup_is_an_empty_look() -> None:
    assert parse("no makeup", random.Random(0)) == ()


def test_words_without_a_product_name_no_look() -> None:
    assert parse("hello world", random.Random(0)) is None


def test_unknown_words_come_with_the_closest_known_ones() -> None:
    reading = read_prompt("a redd lipstik")
    assert [word for word, _ in reading.unknown] == ["redd", "lipstik"]
    assert "red" in reading.unknown[0][1]
    assert "lipstick" in reading.unknown[1][1]


@pytest.mark.parametrize(
    "words",
    [["różowa", "szminka"], ["красная", "помада"], ["लाल", "लिपस्टिक"], ["口紅"], ["أحمر"], ["e\u0301clat"]],
)
def test_unknown_words_of_every_script_are_named_whole(words: list[str]) -> None:
    named = [unicodedata.normalize("NFC", word) for word in words]
    assert [word for word, _ in read_prompt(" ❤\ufe0f".join(words)).unknown] == named


def test_stop_words_are_no_reason_to_warn() -> None:
    assert read_prompt("please give me a really red lipstick look").unknown == ()


def test_the_default_prompt_is_known() -> None:
    assert read_prompt("natural makeup").unknown == ()


@given(st.integers(0, 10_000), st.booleans())
def test_every_caption_uses_known_words_only(seed: int, held_out: bool) -> None:
    _, caption = sample_look(random.Random(seed), held_out)
    assert read_prompt(caption).unknown == ()


@given(st.integers(0, 10_000))
def test_a_caption_of_products_parses_to_its_own_products(seed: int) -> None:
    rng = random.Random(seed)
    look = vocabulary.draw_touches(rng)
    understood = parse(vocabulary.describe(look, rng), rng)
    assert understood is not None
    assert {touch.product for touch in understood} == {touch.product for touch in look}


@given(st.integers(0, 10_000))
def test_held_out_captions_never_occur_in_training(seed: int) -> None:
    templates = [template.format("") for template in vocabulary.HELD_OUT_TEMPLATES]
    assert not any(template.format("") in templates for template in vocabulary.TEMPLATES)
    _, caption = sample_look(random.Random(seed), held_out=True)
    assert any(caption.startswith(template.split("{}")[0]) for template in vocabulary.HELD_OUT_TEMPLATES)


@given(st.integers(0, 10_000))
def test_a_near_miss_is_another_look_of_the_same_products(seed: int) -> None:
    rng = random.Random(seed)
    look = vocabulary.draw_touches(rng)
    other = vocabulary.near_miss(look, rng)
    assert [touch.product for touch in other] == [touch.product for touch in look]


def test_every_colour_that_a_look_may_draw_exists() -> None:
    for name in vocabulary.LOOK_NAMES:
        for seed in range(20):
            for touch in vocabulary.draw_named_look(name, random.Random(seed)):
                assert touch.colour is None or touch.colour in COLOURS


def test_reading_needs_no_torch() -> None:
    source = Path(vocabulary.__file__).read_text()
    assert "import torch" not in source


@pytest.mark.parametrize("prompt", ["", "   ", "!!!", "🙂"])
def test_empty_prompts_name_nothing(prompt: str) -> None:
    assert parse(prompt, random.Random(0)) is None
    assert read_prompt(prompt).known == ()


def test_a_touch_has_a_usual_strength() -> None:
    assert 0.0 < Touch("lips").intensity < 1.0
