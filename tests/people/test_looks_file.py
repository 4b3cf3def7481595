"""looks.toml: what people write into it is read, checked, and stays as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from c2p_core.api import Part
from c2p_core.errors import BadRequest, UnreadableImage
from c2p_core.people.looks_file import FaceLabel, Looks, PersonLook, add_people, parse_looks, read_looks
from tests.error_assertions import raising

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = """
merge = [[3, 7], [7, 9], [12, 10]]
nobody = ["a/b@c.jpg@812,340"]

[others]
skip = true

# the bride
[person.1]
prompt = "red lipstick"
strength = 0.7
seed = 4
locks = ["brows"]

[person.3]
faces = ["x.jpg@1,2", "y.jpg@3,4"]
"""


def test_all_options_are_read() -> None:
    looks = parse_looks(WRITTEN, "looks.toml")
    assert looks.people == {1: PersonLook("red lipstick", 0.7, 4, ("brows",)), 3: PersonLook()}
    assert looks.others == PersonLook(skip=True)
    assert [looks.resolve_person(number) for number in (1, 3, 7, 9, 10, 12)] == [1, 3, 3, 3, 10, 10]
    assert looks.nobody == (FaceLabel("a/b@c.jpg", 812, 340),)
    assert looks.assigned == {3: (FaceLabel("x.jpg", 1, 2), FaceLabel("y.jpg", 3, 4))}
    assert looks.numbers == {1, 3, 7, 9, 10, 12}


def test_the_example_of_the_docs_can_be_read() -> None:
    (example,) = re.findall(r"```toml\n(.+?)```", (ROOT / "docs/people.md").read_text(encoding="utf-8"), re.DOTALL)
    looks = parse_looks(example, "looks.toml")
    assert looks.merged == {7: 3} and looks.others.skip and looks.people[1].prompt == "red lipstick"
    assert len(looks.assigned[20]) == 2 and looks.nobody == (FaceLabel("../SHOOT/0412.jpg", 812, 340),)


def test_two_numbers_alone_can_be_merged_without_a_second_pair_of_brackets() -> None:
    assert parse_looks("merge = [7, 3]", "looks.toml").merged == {7: 3}


def test_people_are_added_at_the_end_and_all_else_stays_as_it_was() -> None:
    text = add_people(WRITTEN, [1, 2, 3, 4])
    assert text.startswith(WRITTEN)
    assert set(parse_looks(text, "looks.toml").people) == {1, 2, 3, 4}
    assert add_people(text, [1, 4]) == text


def test_a_new_file_sets_nothing_for_anybody() -> None:
    assert parse_looks(add_people("", [1, 2]), "looks.toml") == Looks({1: PersonLook(), 2: PersonLook()})


def test_the_examples_in_a_new_file_are_valid_once_uncommented() -> None:
    lines = add_people("", [1]).splitlines()
    looks = parse_looks("\n".join(line.removeprefix("# ") if " = " in line else line for line in lines), "looks.toml")
    assert looks.merged == {7: 3} and looks.nobody == looks.assigned[1] != ()
    assert looks.others == PersonLook(skip=True) and looks.people[1].skip and looks.people[1].locks == get_args(Part)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[person.ann]", "person.ann"),
        ("person = 3", "person"),
        ("[person.1]\nstrength = 2", "person.1.strength"),
        ("[person.1]\nstrength = true", "person.1.strength"),
        ("[person.1]\nseed = -1", "person.1.seed"),
        ("[person.1]\nskip = 1", "person.1.skip"),
        ("[person.1]\nprompt = 1", "person.1.prompt"),
        (f"[person.1]\nprompt = '{'x' * 301}'", "person.1.prompt"),
        ('[person.1]\nlocks = ["ears"]', "person.1.locks"),
        ('[person.1]\nfaces = ["x.jpg"]', "person.1.faces"),
        ("merge = 3", "merge"),
        ('merge = [["3"]]', "merge"),
        ("nobody = [1]", "nobody"),
        ("[others]\nskip = 'no'", "others.skip"),
    ],
)
def test_invalid_values_are_refused_with_their_keys(text: str, key: str) -> None:
    with raising(BadRequest, "looks-value-wrong", key=key):
        parse_looks(text, "looks.toml")


@pytest.mark.parametrize(
    ("text", "key"),
    [("merged = [1]", "merged"), ("[person.1]\ncolour = 1", "person.1.colour"), ("[others]\nfaces=[]", "others.faces")],
)
def test_an_unknown_key_is_refused(text: str, key: str) -> None:
    with raising(BadRequest, "looks-key-unknown", key=key):
        parse_looks(text, "looks.toml")


def test_a_missing_file_sets_nothing_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "looks.toml"
    assert read_looks(path) == Looks()
    path.write_text("merge = [")
    with raising(BadRequest, "looks-not-toml", path=str(path)):
        read_looks(path)
    path.write_bytes(b"\xff")
    with raising(UnreadableImage, "looks-not-read"):
        read_looks(path)
