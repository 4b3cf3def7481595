"""Rows and table of the quality of inversions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import rows
from benchmarks.report.inversion import write_section
from benchmarks.rows import InversionRow
from benchmarks.suites import inversion


def row(face: str = "a", encoder: float = 19.5, tuned: float = 30.0) -> InversionRow:
    return InversionRow(face, encoder, tuned, 12.0, "code")


def run_inversion(folder: Path, names: str, messages: list[str] | None = None) -> list[str]:
    """Run over photos of these names; one called "x" shows no face. Returns the measured photos."""
    measured: list[str] = []

    def measure_photo(photo: Path) -> InversionRow | None:
        measured.append(photo.stem)
        return None if photo.stem == "x" else row(photo.stem)

    with ThreadPoolExecutor(1) as executor:
        log = (messages if messages is not None else []).append
        inversion.run([Path(f"{name}.jpg") for name in names], folder, executor, log, measure_photo)
    return measured


def read_faces(folder: Path) -> list[str]:
    return [stored.face for stored in rows.read(folder / rows.INVERSION_FILE, rows.InversionRow)]


def test_faces_with_a_row_are_not_inverted_again(tmp_path: Path) -> None:
    run_inversion(tmp_path, "ab")
    assert run_inversion(tmp_path, "abc") == ["c"]
    assert sorted(read_faces(tmp_path)) == ["a", "b", "c"]


def test_a_truncated_row_is_measured_again(tmp_path: Path) -> None:
    run_inversion(tmp_path, "ab")
    file = tmp_path / rows.INVERSION_FILE
    file.write_bytes(file.read_bytes()[:-9])
    assert len(run_inversion(tmp_path, "ab")) == 1
    assert sorted(read_faces(tmp_path)) == ["a", "b"]


def test_a_photo_without_a_face_is_reported_and_the_others_are_measured(tmp_path: Path) -> None:
    messages: list[str] = []
    run_inversion(tmp_path, "xa", messages)
    assert read_faces(tmp_path) == ["a"]
    assert any(line.endswith("x: shows no face to invert") for line in messages)


def test_the_report_has_mean_and_worst_face_beside_their_aims() -> None:
    text = write_section([row("a", 18.0, 26.0), row("b", 21.0, 31.0)])
    assert "| encoder alone, dB | ≥ 19 | 19.50 | 18.00 |" in text
    assert "| after tuning, dB | ≥ 28, worst ≥ 25 | 28.50 | 26.00 |" in text


def test_the_section_is_empty_without_rows() -> None:
    assert write_section([]) == ""
