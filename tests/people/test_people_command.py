"""What `c2p people` prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from c2p_core import cli
from c2p_core.errors import Message
from c2p_core.people.finding import People
from c2p_core.people.listing import ListedFace
from c2p_core.people.looks_file import Looks, parse_looks


@pytest.fixture
def shoot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two photos, on which nobody is really looked for."""
    folder = tmp_path / "shoot"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "notes.txt"):
        (folder / name).write_bytes(b"x")

    def find(
        photos: Sequence[Path],
        output: Path,
        store: Any,
        device: Any,
        warnings: list[Message],
        report_progress: Callable[..., None],
    ) -> tuple[People, Looks]:
        assert [photo.name for photo in photos] == ["a.jpg", "b.jpg"]
        report_progress(1)
        warnings.append(Message("label-unmatched", label="x.jpg@1,1"))
        groups = (("a.jpg", 4), ("b.jpg", 2), ("b.jpg", 1), ("b.jpg", 0))
        faces = tuple(ListedFace(photo, number, (0, 0, 9, 9), group) for number, (photo, group) in enumerate(groups))
        looks = parse_looks("merge = [4, 2]\n[person.1]\nskip = true", "looks.toml")
        return People(faces, (b"",) * 4, (1.0,) * 4, (), ()), looks

    monkeypatch.setattr("c2p_core.people.update.update_people", find)
    return folder


def test_a_table_names_the_people_with_the_most_faces_first(shoot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["people", str(shoot), "-o", str(shoot.parent / "people")]) == 0
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines() if line.strip()[:1].isdigit()]
    assert rows == [["2", "2", "2"], ["1", "1", "1", "skipped"]]
    assert Message("label-unmatched", label="x.jpg@1,1").text() in output
    assert str(shoot.parent / "people" / "people.html") in output


def test_with_json_only_the_report_is_printed(shoot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["people", str(shoot), "-o", str(shoot.parent / "people"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["people"] == [{"person": 2, "photos": 2, "faces": 2}, {"person": 1, "photos": 1, "faces": 1}]
    assert output["others"] == 1 and [warning["code"] for warning in output["warnings"]] == ["label-unmatched"]
