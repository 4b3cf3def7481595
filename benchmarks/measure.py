"""Measures one setting: makes the picture, asks every recogniser, says how natural it looks and what outlives what."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import gallery, judges, metrics
from benchmarks.data import Places
from benchmarks.methods import METHODS, SEARCHED, Made
from benchmarks.process import peak_mib
from benchmarks.rows import ExtraRow, NaturalRow, PairRow, ProtectRow, Role, Score, Setting, SurviveRow
from c2p_core import faces, imageio, verify
from c2p_core.api import Face, Similarity
from c2p_core.device import pick_device
from c2p_core.faces.boxes import box_iou
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.recognition.decoys import load_decoys, nearest_decoy
from c2p_core.robustness import measure_robustness

DECOY_METHOD = "decoy"


@dataclass(frozen=True)
class Task:
    """What is still to be measured of a setting.

    Attributes:
        photo: the original.
        setting: how it is protected.
        wants: names of the fields of `Done` that are missing.
        places: where the picture is kept.
        code: fingerprint that the rows will carry.
        gallery: file of the other people, None for no search among them.
        others: further photos of the same person.
        extra: ``module:function`` of a judge from outside.
    """

    photo: Path
    setting: Setting
    wants: frozenset[str]
    places: Places
    code: str
    gallery: Path | None = None
    others: tuple[Path, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Done:
    """New rows of a task."""

    protect: ProtectRow | None = None
    natural: NaturalRow | None = None
    survive: SurviveRow | None = None
    pairs: PairRow | None = None
    extra: ExtraRow | None = None


@dataclass(frozen=True)
class Seen:
    """A face before and after; either can be missing."""

    original: Photo
    protected: Photo
    face: Face | None
    after: Face | None


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


@lru_cache(maxsize=4)
def original_of(photo: Path, store: ModelStore) -> tuple[Photo, Face | None]:
    """A photo and its largest face that can be protected; a face's settings follow each other."""
    original = imageio.read(photo)
    return original, next((f for f in faces.find_faces(original, store) if not f.skipped), None)


_kept_gallery = lru_cache(maxsize=1)(gallery.load)


def judge(
    original: Photo, protected: Photo, face: Face, after: Face, recognisers: Sequence[Recogniser]
) -> tuple[Similarity, ...]:
    """What recognisers say of a face before and after, as ``c2p check`` does."""
    before, now = (verify.crop_face(View(p), f) for p, f in ((original, face), (protected, after)))
    return verify.measure_similarities(before, now, recognisers, [r.name for r in recognisers], pick_device("auto"))


def role_of(family: str, hold_out: str, searched: bool) -> Role:
    """What a family's recognisers were to a run that held ``hold_out`` out."""
    return "white-box" if searched and family != hold_out else "held-out"


def scores_of(similarities: tuple[Similarity, ...], hold_out: str, searched: bool) -> tuple[Score, ...]:
    """Similarities as they are kept, with the role that each recogniser had in this run."""

    return tuple(
        Score(
            recogniser=s.recogniser,
            family=s.family,
            role=role_of(s.family, hold_out, searched),
            before=float(s.before),
            after=float(s.after),
            far1=float(s.far1),
            far01=float(s.far01),
        )
        for s in similarities
    )


def measure(task: Task, store: ModelStore) -> Done:
    """Measure what a task asks for. A picture that is there is not made again unless its protection is asked for.

    Raises:
        ModelUnavailable: a recogniser or another model can't be had.
        BadRecogniser: the judge from outside is none.
    """
    again = bool(task.wants & {"protect", "pairs"})
    seen, made, wall = make_picture(task.photo, task.setting, task.places.pictures, again, store)
    return Done(
        protect=_protection(task, seen, made, wall, store) if "protect" in task.wants else None,
        natural=naturalness(task.setting, seen, task.code) if "natural" in task.wants else None,
        survive=_survival(task, seen, store) if "survive" in task.wants else None,
        pairs=_pairs(task, seen, store) if "pairs" in task.wants else None,
        extra=_extra(task, seen) if "extra" in task.wants else None,
    )


def make_picture(
    photo: Path, setting: Setting, pictures: Path, again: bool, store: ModelStore
) -> tuple[Seen, Made, float]:
    """The face before and after, what it took to make the picture, and the wall time of the method's call.

    Args:
        pictures: folder in which the picture is kept.
        again: make it even if it is there; one that is not made again took no steps and no time.
    """
    original, face = original_of(photo, store)
    picture = pictures / setting.picture
    if again or not picture.exists():
        started = time.perf_counter()
        made = Made(original) if face is None else METHODS[setting.method](original, face, setting, store)
        wall = time.perf_counter() - started
        _write_picture(picture, made.photo)
    else:
        made, wall = Made(Photo(np.asarray(Image.open(picture).convert("RGB")))), 0.0
    after = None if face is None else same_face(face, faces.find_faces(made.photo, store))
    return Seen(original, made.photo, face, after), made, wall


def _scores(task: Task, seen: Seen, store: ModelStore) -> tuple[Score, ...]:
    if seen.face is None or seen.after is None:
        return ()
    said = judge(seen.original, seen.protected, seen.face, seen.after, judges.recognisers(store))
    return scores_of(said, task.setting.hold_out, task.setting.method in SEARCHED)


def _protection(task: Task, seen: Seen, made: Made, wall: float, store: ModelStore) -> ProtectRow:
    scores, others = _scores(task, seen, store), 0
    if scores and task.gallery is not None:
        people = _kept_gallery(task.gallery)
        others = int(people.others(task.setting.face).sum())
        scores = _ranked(scores, task, seen, people, store)
    if scores and task.setting.method == DECOY_METHOD:
        scores = _towards_decoy(scores, seen, store)
    face = seen.face
    return ProtectRow(
        setting=task.setting,
        scores=scores,
        face_before=face is not None,
        face_after=seen.after is not None,
        box=(0.0, 0.0, 0.0, 0.0) if face is None else face.box,
        eye_distance=0.0 if face is None else float(face.eye_distance),
        steps=made.steps,
        seconds=float(made.seconds),
        wall=wall,
        peak_mib=peak_mib(),
        code=task.code,
        warnings=made.warnings,
        gallery=others,
    )


def _ranked(
    scores: tuple[Score, ...], task: Task, seen: Seen, people: gallery.Gallery, store: ModelStore
) -> tuple[Score, ...]:
    assert seen.after is not None
    recognisers = judges.recognisers(store)
    probe = verify.embed_face(verify.crop_face(View(seen.protected), seen.after), recognisers, pick_device("auto"))
    return tuple(
        replace(s, rank=people.rank(task.setting.face, s.recogniser, probe[s.recogniser].cpu().numpy(), s.after))
        for s in scores
    )


def _towards_decoy(scores: tuple[Score, ...], seen: Seen, store: ModelStore) -> tuple[Score, ...]:
    """Adds what recognisers say of the decoy that the search went for; the optimised ones chose it."""
    assert seen.face is not None and seen.after is not None
    recognisers, device = judges.recognisers(store), pick_device("auto")
    before = verify.embed_face(verify.crop_face(View(seen.original), seen.face), recognisers, device)
    after = verify.embed_face(verify.crop_face(View(seen.protected), seen.after), recognisers, device)
    optimised = {s.recogniser: before[s.recogniser] for s in scores if s.role == "white-box"}
    wanted = nearest_decoy(optimised, load_decoys(store.path("decoys"), recognisers, device))
    return tuple(
        replace(
            s,
            decoy_before=float(before[s.recogniser] @ wanted[s.recogniser]),
            decoy=float(after[s.recogniser] @ wanted[s.recogniser]),
        )
        for s in scores
    )


def naturalness(setting: Setting, seen: Seen, code: str) -> NaturalRow:
    """All figures of `NaturalRow`."""
    before_rgb, after_rgb = metrics.rgb8(seen.original), metrics.rgb8(seen.protected)
    face, after = seen.face, seen.after
    moved = None if face is None or after is None else metrics.displacement(face.mesh, after.mesh, face.eye_distance)
    form = None if face is None or after is None else metrics.form_shift(face.mesh, after.mesh)
    shift = None if face is None else metrics.skin_colour_shift(before_rgb, after_rgb, face)
    spots, flow, like = (None, None, None) if face is None else metrics.on_canvas(before_rgb, after_rgb, face)
    return NaturalRow(
        setting=setting,
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
        code=code,
        ms_ssim=metrics.ms_ssim(before_rgb, after_rgb),
        flip=metrics.flip(before_rgb, after_rgb),
        psnr_face=like.psnr if like else None,
        ssim_face=like.ssim if like else None,
        ms_ssim_face=like.ms_ssim if like else None,
        flip_face=like.flip if like else None,
        box_overlap=box_iou(face.box, after.box) if face is not None and after is not None else None,
        expression_changes=form.expression if form else None,
        landmark_shift=form.landmarks if form else None,
        nose_width=form.nose_width if form else None,
    )


def _survival(task: Task, seen: Seen, store: ModelStore) -> SurviveRow:
    scores = _scores(task, seen, store)
    if seen.face is None or seen.after is None:
        return SurviveRow(task.setting, (), {}, task.code)
    lasting = measure_robustness(
        seen.original, seen.face, seen.protected, seen.after, judges.recognisers(store), store, pick_device("auto")
    )
    degraded = {s.degradation: tuple((v.before, v.after) for v in s.similarities) for s in lasting}
    return SurviveRow(task.setting, scores, degraded, task.code)


def _pairs(task: Task, seen: Seen, store: ModelStore) -> PairRow:
    """The other photos are what a searcher has; the protected one is what was published."""
    if seen.face is None or seen.after is None:
        return PairRow(task.setting, {}, task.code)
    said: dict[str, tuple[Score, ...]] = {}
    for photo in task.others:
        other, face = original_of(photo, store)
        if face is None:
            continue
        recognisers = judges.recognisers(store)
        before = judge(other, seen.original, face, seen.face, recognisers)
        now = judge(other, seen.protected, face, seen.after, recognisers)
        pairs = tuple(replace(a, before=b.after) for a, b in zip(now, before, strict=True))
        said[photo.stem] = scores_of(pairs, task.setting.hold_out, task.setting.method in SEARCHED)
    return PairRow(task.setting, said, task.code)


def _extra(task: Task, seen: Seen) -> ExtraRow:
    scores: tuple[Score, ...] = ()
    if seen.face is not None and seen.after is not None:
        said = judge(seen.original, seen.protected, seen.face, seen.after, [judges.extra(task.extra)])
        scores = tuple(replace(s, role="extra") for s in scores_of(said, task.setting.hold_out, searched=False))
    return ExtraRow(task.setting, task.extra, scores, seen.face is not None, seen.after is not None, task.code)
