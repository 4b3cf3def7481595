"""Things drawn before faces, and the report about them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rows
from benchmarks.covers import KINDS, cover_face, make_outline_mask
from benchmarks.report.covered import write_section
from benchmarks.rows import CoveredRow
from benchmarks.suites import covered
from c2p_core.api import Face
from c2p_core.photo import Photo

ROW = CoveredRow("a", "mask", "", None, "code", 0.4, 0.98, 0.01, 0.004, 0.3, 0.01, 0.5, 0.4)
BARE = CoveredRow("b", "nothing", "man with full beard", None, "code")


@pytest.mark.parametrize("kind", KINDS)
def test_a_cover_lies_on_the_face_and_only_its_shadow_elsewhere(
    astronaut: Photo, astronaut_face: Face, kind: str
) -> None:
    other = astronaut.pixels[50:200, 160:290].astype(np.float32) / 255
    covered_photo = cover_face(astronaut.pixels, astronaut_face, kind, other, 1)
    outline = make_outline_mask(astronaut_face, (512, 512))
    share = float((covered_photo.cover > 0.5)[outline].mean())
    assert (0.002 if kind == "cigarette" else 0.05) < share < 0.75
    # Elsewhere there is at most its shadow.
    uncovered = covered_photo.cover == 0
    assert (covered_photo.pixels[uncovered].astype(int) - astronaut.pixels[uncovered] <= 0).all()


def test_every_kind_of_cover_is_used_in_turn_and_other_faces_stay_uncovered(tmp_path: Path) -> None:
    photos = [Path(f"{number}.jpg") for number in range(len(KINDS) + 1)]
    tasks = covered.make_tasks(photos, photos[:2], tmp_path)
    assert [task.kind for task in tasks] == [*KINDS, next(iter(KINDS)), covered.NOTHING, covered.NOTHING]
    assert all(task.other != task.photo for task in tasks if task.kind != covered.NOTHING)


def test_a_face_is_measured_once_for_each_kind_of_cover(tmp_path: Path) -> None:
    tasks = covered.make_tasks([Path("a.jpg"), Path("b.jpg")], [Path("a.jpg")], tmp_path)

    def run() -> list[tuple[str, str]]:
        measured: list[tuple[str, str]] = []

        def measure_face(task: covered.Task) -> CoveredRow:
            measured.append((task.photo.stem, task.kind))
            return replace(ROW, face=task.photo.stem, kind=task.kind)

        with ThreadPoolExecutor(1) as executor:
            covered.run(tasks, tmp_path, executor, lambda _: None, measure_face)
        return measured

    assert run() == [("a", "mask"), ("b", "hand"), ("a", "nothing")]
    assert run() == []
    assert len(rows.read(tmp_path / rows.COVERED_FILE, CoveredRow)) == 3


def test_the_report_has_means_and_the_worst_face() -> None:
    worse = replace(ROW, face="c", found=0.5, painted=0.2)
    skipped = replace(ROW, face="d", kind="scarf", painted=None, unmasked=None, touched=None, skipped="face-covered")
    text = write_section([ROW, worse, skipped])
    assert "| mask | 2 | 40.0 | 74.0 | 1.0 | 10.2 | 20.0 | 30.0 | 0 |" in text
    assert "| scarf | 1 | 40.0 | 98.0 | 1.0 | – | – | – | 1 |" in text


def test_uncovered_faces_with_a_false_alarm_are_listed_by_label() -> None:
    false_alarm = replace(BARE, face="c", invented=0.03, similarity=0.6, similarity_unmasked=0.5)
    text = write_section([BARE, false_alarm])
    assert "Of 2 faces with nothing before them something was found on 1: man with full beard." in text
    assert "a similarity of 0.60 to the original, 0.50 if" in text
    assert write_section([]) == ""
