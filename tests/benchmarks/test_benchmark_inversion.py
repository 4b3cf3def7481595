"""Rows and table of how well faces are inverted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import rows
from benchmarks.report.inversion import write_section
from benchmarks.rows import InversionRow
from benchmarks.suites import inversion


def row(face: str = "a", encoder: float = 19.5, tuned: float = 30.0) -> InversionRow:
    return InversionRow(face, encoder, tuned, 12.0, "code")


def inverted(folder: Path, names: str, said: list[str] | None = None) -> list[str]:
    """Runs over photos of these names, none of which shows a face if it is called "x"; returns who was looked at."""
    seen: list[str] = []

    def work(photo: Path) -> InversionRow | None:
        seen.append(photo.stem)
        return None if photo.stem == "x" else row(photo.stem)

    with ThreadPoolExecutor(1) as executor:
        say = (said if said is not None else []).append
        inversion.run([Path(f"{name}.jpg") for name in names], folder, executor, say, work)
    return seen


def kept(folder: Path) -> list[str]:
    return [found.face for found in rows.read(folder / rows.INVERSION_FILE, rows.InversionRow)]


def test_faces_that_have_a_row_are_not_inverted_again(tmp_path: Path) -> None:
    inverted(tmp_path, "ab")
    assert inverted(tmp_path, "abc") == ["c"]
    assert sorted(kept(tmp_path)) == ["a", "b", "c"]


def test_a_row_that_a_kill_cut_short_is_measured_again(tmp_path: Path) -> None:
    inverted(tmp_path, "ab")
    file = tmp_path / rows.INVERSION_FILE
    file.write_bytes(file.read_bytes()[:-9])
    assert len(inverted(tmp_path, "ab")) == 1
    assert sorted(kept(tmp_path)) == ["a", "b"]


def test_a_photo_without_a_face_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    inverted(tmp_path, "xa", said)
    assert kept(tmp_path) == ["a"]
    assert any(line.endswith("x: shows no face to invert") for line in said)


def test_mean_and_worst_face_stand_beside_their_aims() -> None:
    text = write_section([row("a", 18.0, 26.0), row("b", 21.0, 31.0)])
    assert "| encoder alone, dB | ≥ 19 | 19.50 | 18.00 |" in text
    assert "| after tuning, dB | ≥ 28, worst ≥ 25 | 28.50 | 26.00 |" in text


def test_without_rows_nothing_is_said() -> None:
    assert write_section([]) == ""
