"""Faces with something before them: how well the product finds covers, and how much it paints on and moves them.

Things (``benchmarks.covers``) are put before the faces of a list, one kind after the other. Unchanged faces show how
often a cover is found where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import rows
from benchmarks.covers import KINDS, cover_face, make_outline_mask
from benchmarks.fingerprint import fingerprint_code
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.recognisers import open_store
from benchmarks.rows import CoveredRow
from benchmarks.suites.demographics import read_labels
from benchmarks.suites.runner import Outcome, run_missing, store_row
from c2p_core import faces, pipeline
from c2p_core.api import Face, ProtectRequest, ProtectResult
from c2p_core.errors import NoFace
from c2p_core.faces.align import CANVAS, align, transform_points
from c2p_core.faces.boxes import match_face
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo

NOTHING = "nothing"
PROMPT = "red lipstick and smoky eyes"
_VISIBLE = 2  # levels of 255; larger changes of a pixel are visible


@dataclass(frozen=True)
class Task:
    """One face to measure.

    Attributes:
        photo: the face's photo.
        kind: a key of ``covers.KINDS``, or ``NOTHING``.
        other: photo of another person who may stand before it.
        pictures: folder for the photo with the thing, and as protected.
        seed: of the thing's position and look.
        steps: of the search; the product's default when None.
        unmasked: whether it is also protected without looking for covers.
    """

    photo: Path
    kind: str
    other: Path
    pictures: Path
    seed: int
    steps: int | None
    unmasked: bool


def make_tasks(
    photos: Sequence[Path], uncovered: Sequence[Path], pictures: Path, steps: int | None = None, unmasked: bool = True
) -> list[Task]:
    """Photos with things before their faces, one kind after the other, and photos with nothing."""
    kinds = list(KINDS)
    covered = [
        Task(photo, kinds[i % len(kinds)], photos[(i + 7) % len(photos)], pictures, i, steps, unmasked)
        for i, photo in enumerate(photos)
    ]
    # Without covers, there is something to compare only after a false alarm; then both are measured.
    return covered + [Task(photo, NOTHING, photo, pictures, 0, steps, True) for photo in uncovered]


def measure(task: Task) -> CoveredRow | None:
    """Measure one face; None if the photo shows none."""
    store = open_store()
    original = photo_files.read(task.photo)
    face = _find_largest_face(original, store)
    if face is None:
        return None
    label = read_labels().get(task.photo.stem, "")
    row = CoveredRow(task.photo.stem, task.kind, label, task.steps, fingerprint_code())
    outline = make_outline_mask(face, to_rgb8(original).shape[:2])
    if task.kind == NOTHING:
        row = replace(row, invented=float(_find_cover(original, face, store)[outline].mean()))
        # If no cover is found, the pipeline does the same as without looking for covers.
        return _protect(task, row, original, face, np.zeros(outline.shape), outline, store) if row.invented else row

    covered_photo = cover_face(to_rgb8(original), face, task.kind, _crop_head(task.other, store), task.seed)
    photo = Photo(covered_photo.pixels)
    covered_face = (covered_photo.cover > 0.5) & outline
    row = replace(row, covered=float(covered_face.sum() / outline.sum()))
    # The largest face may be that of the other person.
    detected = match_face(face.box, [f for f in faces.find_faces_in(View(photo), store) if not f.skipped])
    if detected is None:
        return replace(row, skipped="no-face")
    found_cover = _find_cover(photo, detected, store)
    uncovered_face = outline & (covered_photo.cover < 0.05)
    row = replace(
        row, found=float(found_cover[covered_face].mean()), invented=float(found_cover[uncovered_face].mean())
    )
    return _protect(task, row, photo, detected, covered_photo.cover, covered_face, store)


def _protect(
    task: Task,
    row: CoveredRow,
    photo: Photo,
    face: Face,
    cover: NDArray[np.floating[Any]],
    covered_face: NDArray[np.bool_],
    store: ModelStore,
) -> CoveredRow:
    """Protect a photo, also without looking for covers if the task asks for it, and add the results to its row.

    Args:
        face: to protect.
        cover: (H, W) 0..1 opacity of the cover.
        covered_face: (H, W) mask of the cover on the face.
    """
    if task.unmasked:
        with patch("c2p_core.subjects.find_visible", lambda *_: {}):
            result = _run_search(task, photo, face, store)
        row = replace(
            row,
            unmasked=_measure_change_on_cover(result.photo, photo, cover)[0],
            similarity_unmasked=_compute_similarity(result),
        )
    try:
        result = _run_search(task, photo, face, store)
    except NoFace as error:
        return replace(row, skipped=error.message.fields["why"].code)
    _save_picture(task, photo, result.photo)
    painted, changed = _measure_change_on_cover(result.photo, photo, cover)
    touched = float(changed[covered_face].mean()) if cover.any() else None
    return replace(row, painted=painted, touched=touched, similarity=_compute_similarity(result))


def _find_largest_face(photo: Photo, store: ModelStore) -> Face | None:
    return next((face for face in faces.find_faces_in(View(photo), store) if not face.skipped), None)


def _find_cover(photo: Photo, face: Face, store: ModelStore) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels that the product considers covered."""
    height, width = photo.pixels.shape[:2]
    visible = faces.find_visible(View(photo), [face], store).get(face.number)
    if visible is None:
        return np.zeros((height, width), bool)
    to_canvas = align(face.mesh, face.eye_distance).to_canvas
    points = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    x, y = np.clip(transform_points(to_canvas, points), 0, CANVAS - 1).astype(int).T
    return np.asarray(visible.numpy()[y, x].reshape(height, width) < 0.5)


def _crop_head(photo: Path, store: ModelStore) -> NDArray[np.floating[Any]]:
    """(H, W, 3) sRGB 0..1 of a photo around its largest face."""
    picture = photo_files.read(photo)
    pixels = to_rgb8(picture).astype(np.float32) / 255
    face = _find_largest_face(picture, store)
    if face is None:
        return pixels
    x0, y0, x1, y1 = (int(edge) for edge in face.box)
    margin = int(0.35 * (x1 - x0))
    return pixels[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]


_WARM = WarmModels()


def _run_search(task: Task, photo: Photo, face: Face, store: ModelStore) -> ProtectResult:
    request = ProtectRequest(photo, prompt=PROMPT, faces=(face.number,), steps=task.steps)
    return pipeline.protect(request, store=store, warm=_WARM)


def _compute_similarity(result: ProtectResult) -> float:
    """Mean similarity of the protected face to the original, over all recognisers."""
    (face,) = (face for face in result.faces if face.similarities)
    return float(np.mean([similarity.after for similarity in face.similarities]))


def _measure_change_on_cover(
    protected: Photo, photo: Photo, cover: NDArray[np.floating[Any]]
) -> tuple[float, NDArray[np.bool_]]:
    """Share of the visibly changed pixels that lie on the cover, and the (H, W) mask of the changed ones."""
    changed = np.abs(protected.pixels.astype(int) - photo.pixels).max(-1) > _VISIBLE
    return float((changed & (cover > 0.5)).sum() / max(1, changed.sum())), changed


def _save_picture(task: Task, photo: Photo, protected: Photo) -> None:
    folder = task.pictures / "covered"
    folder.mkdir(parents=True, exist_ok=True)
    side_by_side = np.concatenate([photo.pixels, protected.pixels], 1)
    Image.fromarray(side_by_side).save(folder / f"{task.kind.replace(' ', '-')}-{task.photo.stem}.png")


def run(
    tasks: Sequence[Task],
    folder: Path,
    executor: Executor,
    log: Callable[[str], None],
    measure_face: Callable[[Task], CoveredRow | None] = measure,
) -> Outcome:
    """Add a row for every face and kind that has none yet.

    Args:
        log: prints a line.
        measure_face: measures one face; replaced in tests.
    """
    path = folder / rows.COVERED_FILE
    rows.drop_incomplete_line(path)
    measured = {(row.face, row.kind) for row in rows.read(path, CoveredRow)}
    missing = [task for task in tasks if (task.photo.stem, task.kind) not in measured]

    return run_missing(
        missing,
        len(tasks) - len(missing),
        folder,
        measure_face,
        partial(store_row, path, _summarise),
        lambda task: f"{task.kind}, {task.photo.stem}",
        executor,
        log,
    )


def _summarise(row: CoveredRow | None) -> str:
    if row is None:
        return "shows no face"
    outcome = f"found {row.found or 0:.2f}, invented {row.invented:.2f}, {row.skipped or 'protected'}"
    if row.painted is not None:
        outcome += f", {100 * row.painted:.1f} % painted on it"
    if row.unmasked is not None:
        outcome += f", {100 * row.unmasked:.1f} % without looking for it"
    return outcome
