"""Makeup prompts in German."""

from __future__ import annotations

import random
import sys
from importlib.resources import files

import pytest

from c2p_core.guidance.languages import to_english
from c2p_core.guidance.vocabulary import PRESETS, choose_makeup, read_prompt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    ("german", "english"),
    [
        ("natürliches Make-up", "natural makeup"),
        ("roter Lippenstift und rauchige Augen", "red lipstick and smoky eyes"),
        ("Nude-Lippenstift und sanfte Konturen", "nude lipstick and soft contour"),
        ("rosa Lippenstift und rosiges Rouge", "pink lipstick and rosy rouge"),
        ("bronzefarbener Lidschatten und pfirsichfarbener Lippenstift", "bronze eyeshadow and peach lipstick"),
        ("auffälliger roter Lippenstift, kein Rouge", "bold red lipstick, no rouge"),
        ("dunkelgruener Pullover", "dunkelgruener pullover"),
        ("gruener Lidschatten", "green eyeshadow"),
        ("ungeschminkt", "no makeup"),
    ],
)
def test_german_words_are_read_as_their_english_equivalents(german: str, english: str) -> None:
    assert to_english(german).lower() == english
    assert choose_makeup(to_english(german), random.Random(1)) == choose_makeup(english, random.Random(1))


@pytest.mark.parametrize("prompt", [*PRESETS, "Red Lipstick, not too bold; soft smokey eye", ""])
def test_an_english_prompt_stays_as_it_is(prompt: str) -> None:
    assert to_english(prompt) == prompt


def test_both_languages_may_be_mixed() -> None:
    assert to_english("smoky eyes und roter lipstick") == "smoky eyes and red lipstick"


def test_an_unknown_word_is_reported_as_it_was_typed() -> None:
    assert [word for word, _ in read_prompt(to_english("roter Lippenstift und ein Hut")).unknown] == ["hut"]


def test_every_translation_has_only_words_that_prompts_may_have() -> None:
    for file in files("c2p_core.guidance.languages").iterdir():
        if file.name.endswith(".toml"):
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            for english in (*table["words"].values(), *table["adjectives"].values()):
                assert read_prompt(english).unknown == (), english
