"""The benchmarks' errors: every code has words, and arrives from another process as it was."""

from __future__ import annotations

import ast
import pickle
import string

import pytest

from benchmarks.data import CHECKOUT
from benchmarks.errors import MESSAGES, BadRecogniser, BenchmarkError, NoData

KINDS = {kind.__name__ for kind in (NoData, BadRecogniser)}


def list_raised() -> list[tuple[str, set[str]]]:
    """Codes of the errors that the benchmarks raise, each with the names of its fields."""
    raised = []
    for path in (CHECKOUT / "benchmarks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                codes = [leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant) and leaf.value]
                raised += [(code, {keyword.arg or "" for keyword in node.keywords}) for code in codes]
    return raised


def test_every_error_that_is_raised_has_words_for_its_fields_and_no_words_are_left_over() -> None:
    raised = list_raised()
    assert {code for code, _ in raised} == set(MESSAGES)
    for code, fields in raised:
        assert {name for _, name, _, _ in string.Formatter().parse(MESSAGES[code]) if name} == fields, code


@pytest.mark.parametrize("kind", [NoData, BadRecogniser])
def test_an_error_keeps_its_kind_and_fields_on_its_way_from_another_process(kind: type[BenchmarkError]) -> None:
    error = pickle.loads(pickle.dumps(kind("too-few-photos", workers=2)))
    assert type(error) is kind and (error.code, error.fields) == ("too-few-photos", {"workers": 2})
    assert str(error) == str(kind("too-few-photos", workers=2))
