"""Words of makeup: which are known, and what they mean."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
import worker_client

import c2p_core
from c2p_core.guidance.tables import TABLES
from c2p_core.guidance.vocabulary import PIGMENTS, PRESETS, Touch, parse, read_prompt


def read_products(prompt: str, seed: int = 0) -> dict[str, str | None]:
    look = parse(prompt, random.Random(seed))
    assert look is not None
    return {touch.product: touch.colour for touch in look}


def test_colours_go_to_the_product_that_they_stand_before() -> None:
    assert read_products("red lipstick and green eyeshadow") == {"lips": "red", "eyeshadow": "green"}


def test_a_colour_may_follow_its_product() -> None:
    assert read_products("lips in plum") == {"lips": "plum"}


def test_synonyms_mean_the_same() -> None:
    assert read_products("burgundy lip colour") == read_products("dark red lipstick")


def test_two_word_colours_are_one_colour() -> None:
    assert read_products("midnight blue eye shadow") == {"eyeshadow": "navy"}


def test_a_look_is_its_products() -> None:
    assert {"lips", "eyeshadow", "eyeliner"} <= set(read_products("gothic"))


def test_a_product_changes_a_look() -> None:
    assert read_products("gothic makeup with red lipstick")["lips"] == "red"


def test_a_product_can_be_negated() -> None:
    assert "eyeliner" not in read_products("gothic makeup without eyeliner")


@pytest.mark.parametrize(
    ("prompt", "products"),
    [
        ("red lipstick without smoky eyes", {"lips": "red"}),
        ("red lipstick, not pink", {"lips": "red"}),
        ("without foundation, red lipstick", {"lips": "red"}),
        ("without bold and heavy eyeliner", {}),
    ],
)
def test_a_negation_applies_to_what_follows_it(prompt: str, products: dict[str, str]) -> None:
    assert read_products(prompt) == products


def test_a_negated_colour_is_replaced_by_another() -> None:
    assert all(dict(read_products("lipstick, but not red", seed))["lips"] not in (None, "red") for seed in range(50))


def test_a_colour_after_the_word_in_goes_to_the_product_before_it() -> None:
    assert read_products("lipstick in plum and eyeshadow in gold") == {"lips": "plum", "eyeshadow": "gold"}


def test_a_negated_product_comes_back_when_its_look_is_described() -> None:
    assert read_products("without eyeshadow but smoky eye makeup in grey")["eyeshadow"] == "grey"


@pytest.mark.parametrize("prompt", ["red lipstick, not too bold", "smoky eyes, not too dramatic", "not too much blush"])
def test_not_too_strong_means_the_usual_strength(prompt: str) -> None:
    for whole in (prompt, f"{prompt}, and strong contour"):
        look = parse(whole, random.Random(0))
        assert look is not None and 0.5 < look[0].intensity < 0.7


def test_a_product_after_a_negated_strength_is_kept() -> None:
    assert read_products("red lipstick, not too heavy, and blue eyeshadow") == {"lips": "red", "eyeshadow": "blue"}


def test_stronger_words_paint_more() -> None:
    sheer, bold = (parse(f"{word} red lipstick", random.Random(0)) for word in ("sheer", "bold"))
    assert sheer is not None and bold is not None
    assert sheer[0].intensity < bold[0].intensity


def test_the_meaning_of_captions_has_not_changed_since_training() -> None:
    assert {read_products("smoky eyes", seed)["eyeshadow"] for seed in range(20)} == {"black", "grey"}
    assert {"lips", "blush"} <= set(read_products("natural makeup"))


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
    normalised = [unicodedata.normalize("NFC", word) for word in words]
    assert [word for word, _ in read_prompt(" ❤\ufe0f".join(words)).unknown] == normalised


def test_stop_words_are_no_reason_to_warn() -> None:
    assert read_prompt("please give me a really red lipstick look").unknown == ()


def test_the_default_prompt_is_known() -> None:
    assert read_prompt("natural makeup").unknown == ()


def test_every_preset_is_known() -> None:
    assert [prompt for prompt in PRESETS if read_prompt(prompt).unknown] == []


def test_looks_draw_products_and_colours_that_the_tables_have() -> None:
    for look in TABLES.looks.values():
        for ingredient in (*look.products, *look.painted):
            assert ingredient.product in TABLES.products
            assert set(ingredient.colours) <= PIGMENTS.keys()


def test_the_tables_are_found_in_a_zipped_package(tmp_path: Path) -> None:
    package = Path(c2p_core.__file__).parent
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        for path in (*package.rglob("*.py"), package / "guidance/vocabulary.toml"):
            archive.write(path, path.relative_to(package.parent))
        # The texts of the errors.
        for path in Path(worker_client.__file__).parent.glob("*.py"):
            archive.write(path, f"worker_client/{path.name}")
    program = "from c2p_core.guidance import vocabulary; print(vocabulary.__file__, vocabulary.PRESETS[0])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "zipped.zip")}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert run.stdout == f"{tmp_path / 'zipped.zip' / 'c2p_core/guidance/vocabulary.py'} {PRESETS[0]}\n"


def test_reading_needs_no_torch() -> None:
    program = "import sys; from c2p_core.guidance import vocabulary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(c2p_core.__file__).parents[1]).returncode == 0


@pytest.mark.parametrize("prompt", ["", "   ", "!!!", "🙂"])
def test_empty_prompts_name_nothing(prompt: str) -> None:
    assert parse(prompt, random.Random(0)) is None
    assert read_prompt(prompt).known == ()


def test_a_touch_has_a_usual_strength() -> None:
    assert 0.0 < Touch("lips").intensity < 1.0
