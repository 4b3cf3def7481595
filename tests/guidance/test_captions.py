"""Captions that the embedded CLIP is trained and checked with."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.train import captions
from c2p_core.guidance.vocabulary import TEMPLATES, parse, read_prompt


@settings(deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_every_caption_uses_known_words_only(seed: int, held_out: bool) -> None:
    _, caption = captions.sample_look(random.Random(seed), held_out)
    assert read_prompt(caption).unknown == ()


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_caption_of_products_parses_to_its_own_products(seed: int) -> None:
    rng = random.Random(seed)
    look = captions.draw_products(rng)
    understood = parse(captions.describe(look, rng), rng)
    assert understood is not None
    assert {touch.product for touch in understood} == {touch.product for touch in look}


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_held_out_captions_never_occur_in_training(seed: int) -> None:
    templates = [template.format("") for template in captions.HELD_OUT_TEMPLATES]
    assert not any(template.format("") in templates for template in TEMPLATES)
    _, caption = captions.sample_look(random.Random(seed), held_out=True)
    assert any(caption.startswith(template.split("{}")[0]) for template in captions.HELD_OUT_TEMPLATES)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_hard_negative_is_another_look_of_the_same_products(seed: int) -> None:
    rng = random.Random(seed)
    look = captions.draw_products(rng)
    negative = captions.draw_hard_negative(look, rng)
    assert [touch.product for touch in negative] == [touch.product for touch in look]
