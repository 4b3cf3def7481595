"""SCALE.md says what its figures say, and what was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report.scale import describe_span, find_first, write_scale

RUN = {"photos": 8, "faces": 8, "steps": None, "search_seconds": 60.0}
FOUND = {
    "code": "abc",
    "cores": 2,
    "megapixels": 6.0,
    "workers": [
        {"workers": 1, "seconds": 90.0, "between": 10.0, **RUN},
        {"workers": 2, "seconds": 50.0, "between": 5.5, **RUN},
    ],
    "ratio": 1.818,
    "stages": {
        "read": 0.5,
        "detect": 1.0,
        "finish": 0.5,
        "photo_bytes": 2_000_000,
        "result_bytes": 3_000_000,
        "row_bytes": 3000,
    },
    "rates": {"rows": 200.0, "results": 50.0, "objects": 20.0, "messages": 100.0},
}


def cells(text: str, first: str) -> list[str]:
    """The cells of the line of a table that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "scale.json").write_text(json.dumps(FOUND))
    return write_scale(tmp_path).read_text()


def test_cores_take_the_seconds_of_one_worker_by_their_number(text: str) -> None:
    assert cells(text, "512") == ["512", "5.4 h", "51.20"]


def test_cards_are_bound_by_what_was_measured_beside_them(text: str) -> None:
    lines = [line for line in text.splitlines() if line.startswith("| 8 ")]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == ["8", "2.9 days", "5.6 h"]
    assert "the search was not measured" in text.replace("\n", " ")


def test_the_slowest_part_breaks_first(text: str) -> None:
    first, rate = find_first(FOUND)
    assert rate == 50.0 and f"The first to break: {first}" in text.replace("\n", " ")
    assert "2.00 TB" in text.replace("\n", " ") and "3.0 GB" in text


@pytest.mark.parametrize(("met", "ratio"), [("reached", 1.818), ("missed", 1.2)])
def test_the_aim_is_told_as_reached_or_missed(tmp_path: Path, met: str, ratio: float) -> None:
    (tmp_path / "scale.json").write_text(json.dumps({**FOUND, "ratio": ratio}))
    assert f"aim 1.7: {met}" in write_scale(tmp_path).read_text()


@pytest.mark.parametrize(
    ("seconds", "words"), [(600, "10 min"), (9000, "2.5 h"), (3 * 86400, "3.0 days"), (1e8, "3.2 years")]
)
def test_spans_are_in_their_largest_unit(seconds: float, words: str) -> None:
    assert describe_span(seconds) == words
