"""Measures one setting: makes the picture, asks every recogniser, and says how natural it looks."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import metrics
from benchmarks.data import Places
from benchmarks.methods import METHODS, SEARCHED, Made
from benchmarks.process import peak_mib
from benchmarks.rows import NaturalRow, ProtectRow, Score, Setting
from c2p_core import faces, imageio, verify
from c2p_core.api import Face, Photo, Similarity
from c2p_core.faces.landmarks import to_tensor
from c2p_core.models.store import ModelStore
from c2p_core.pipeline import pick_device
from c2p_core.recognition import RECOGNISERS, Recogniser, load_recognisers


@dataclass(frozen=True)
class Task:
    """What is still to be measured of a setting; ``code`` is the fingerprint that the rows will carry."""

    photo: Path
    setting: Setting
    protect: bool
    natural: bool
    places: Places
    code: str


@dataclass(frozen=True)
class Done:
    """New rows of a task."""

    protect: ProtectRow | None
    natural: NaturalRow | None


def _write_picture(path: Path, photo: Photo) -> None:
    """PNG, written aside and renamed, so that a kill leaves no half picture that a resume would trust."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.part")
    Image.fromarray(metrics.rgb8(photo)).save(aside, "PNG", compress_level=3)
    aside.replace(path)


def same_face(face: Face, found: tuple[Face, ...]) -> Face | None:
    """The one of the faces found that lies where ``face`` lies: centres less than half an eye distance apart."""
    centre = face.mesh.mean(axis=0)

    def away(other: Face) -> float:
        return float(np.hypot(*(other.mesh.mean(axis=0) - centre)))

    near = [other for other in found if other.mesh.size and away(other) < 0.5 * face.eye_distance]
    return min(near, key=away, default=None)


@lru_cache(maxsize=1)
def _recognisers(store: ModelStore) -> tuple[Recogniser, ...]:
    # By name, not "auto": a judge that can't be had has to fail the run, not vanish from the table.
    return load_recognisers(RECOGNISERS, store, pick_device("auto"))


def judge(original: Photo, protected: Photo, face: Face, after: Face, store: ModelStore) -> tuple[Similarity, ...]:
    """What all recognisers say of a face before and after, as ``c2p check`` does.

    Raises:
        ModelUnavailable: a recogniser can't be had.
    """
    before, now = (verify.see(to_tensor(imageio.to_srgb(p)), f) for p, f in ((original, face), (protected, after)))
    recognisers = _recognisers(store)
    return verify.similarities(before, now, recognisers, [r.name for r in recognisers], pick_device("auto"))


def scores_of(similarities: tuple[Similarity, ...], hold_out: str, searched: bool) -> tuple[Score, ...]:
    """Similarities as they are kept, with the role that each recogniser had in this run."""
    return tuple(
        Score(
            recogniser=s.recogniser,
            family=s.family,
            role="white-box" if searched and s.family != hold_out else "held-out",
            before=float(s.before),
            after=float(s.after),
            far1=float(s.far1),
            far01=float(s.far01),
        )
        for s in similarities
    )


def measure(task: Task, store: ModelStore) -> Done:
    """Measure what a task asks for. A picture that is there already is not made again for its naturalness alone.

    Raises:
        ModelUnavailable: a recogniser or another model can't be had.
    """
    setting = task.setting
    original = imageio.read(task.photo)
    found = faces.find_faces(original, store)
    face = next((f for f in found if not f.skipped), None)
    picture = task.places.pictures / setting.picture
    if task.protect or not picture.exists():
        started = time.perf_counter()
        made = Made(original) if face is None else METHODS[setting.method](original, face, setting, store)
        wall = time.perf_counter() - started
        _write_picture(picture, made.photo)
        protected = made.photo
    else:
        protected = Photo(np.asarray(Image.open(picture).convert("RGB")))
        made, wall = Made(protected), 0.0
    after = None if face is None else same_face(face, faces.find_faces(protected, store))
    protect_row = _protection(task, original, face, after, made, wall, store) if task.protect else None
    return Done(protect_row, _naturalness(task, original, protected, face, after) if task.natural else None)


def _protection(
    task: Task, original: Photo, face: Face | None, after: Face | None, made: Made, wall: float, store: ModelStore
) -> ProtectRow:
    scores: tuple[Score, ...] = ()
    if face is not None and after is not None:
        said = judge(original, made.photo, face, after, store)
        scores = scores_of(said, task.setting.hold_out, task.setting.method in SEARCHED)
    return ProtectRow(
        setting=task.setting,
        scores=scores,
        face_before=face is not None,
        face_after=after is not None,
        box=(0.0, 0.0, 0.0, 0.0) if face is None else face.box,
        eye_distance=0.0 if face is None else float(face.eye_distance),
        steps=made.steps,
        seconds=float(made.seconds),
        wall=wall,
        peak_mib=peak_mib(),
        code=task.code,
        warnings=made.warnings,
    )


def _naturalness(task: Task, original: Photo, protected: Photo, face: Face | None, after: Face | None) -> NaturalRow:
    before_rgb, after_rgb = metrics.rgb8(original), metrics.rgb8(protected)
    moved = None if face is None or after is None else metrics.displacement(face.mesh, after.mesh, face.eye_distance)
    shift = None if face is None else metrics.skin_colour_shift(before_rgb, after_rgb, face)
    spots, flow = (None, None) if face is None else metrics.on_canvas(before_rgb, after_rgb, face)
    return NaturalRow(
        setting=task.setting,
        psnr=metrics.psnr(before_rgb, after_rgb),
        ssim=metrics.ssim(before_rgb, after_rgb),
        mesh_shift=moved.mesh if moved else None,
        eye_shift=moved.eyes if moved else None,
        flow_shift=flow.mesh if flow else None,
        flow_eye_shift=flow.eyes if flow else None,
        skin_de_mean=shift.mean if shift else None,
        skin_de_p95=shift.p95 if shift else None,
        patch_face=spots.face if spots else None,
        patch_skin=spots.skin if spots else None,
        patch_face_raw=spots.face_raw if spots else None,
        patch_skin_raw=spots.skin_raw if spots else None,
        code=task.code,
    )
