"""Measures one setting: makes the picture, compares it by every recogniser, and measures naturalness and robustness."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

from benchmarks.data import RunFolders
from benchmarks.methods.catalogue import METHODS, SEARCHED, Made, Method
from benchmarks.methods.strengths import DECOY_METHOD
from benchmarks.metrics import expression, image_quality, patchiness, skin
from benchmarks.metrics.image_quality import rgb8
from benchmarks.metrics.memory import peak_mib
from benchmarks.recognisers import load_every_recogniser, load_extra_recogniser
from benchmarks.rows import ExtraRow, NaturalRow, PairRow, ProtectRow, RobustnessRow, Role, Score, Setting
from benchmarks.suites import gallery
from c2p_core import faces, verify
from c2p_core.api import Face, Similarity
from c2p_core.device import pick_device
from c2p_core.faces.boxes import box_iou, match_face
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.recognition.decoys import load_decoys, nearest_decoy
from c2p_core.robustness import measure_robustness


@dataclass(frozen=True)
class Task:
    """What is still to be measured of a setting.

    Attributes:
        photo: the original.
        setting: how it is protected.
        wants: names of the fields of `Done` that are missing.
        folders: where the picture is kept.
        code: fingerprint that the rows will carry.
        gallery: file of the other people, None for no search among them.
        others: further photos of the same person.
        extra: ``module:function`` of a recogniser from outside.
    """

    photo: Path
    setting: Setting
    wants: frozenset[str]
    folders: RunFolders
    code: str
    gallery: Path | None = None
    others: tuple[Path, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Done:
    """New rows of a task."""

    protect: ProtectRow | None = None
    natural: NaturalRow | None = None
    robustness: RobustnessRow | None = None
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
    """Write a PNG; a kill leaves no half picture that a resumed run would trust."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(rgb8(photo)).save(encoded, "PNG", compress_level=3)
    write_whole(path, encoded.getvalue())


@lru_cache(maxsize=4)
def read_original(photo: Path, store: ModelStore) -> tuple[Photo, Face | None]:
    """A photo and its largest face that can be protected; a face's settings follow each other."""
    original = photo_files.read(photo)
    return original, next((f for f in faces.find_faces(original, store) if not f.skipped), None)


def compare_faces(
    original: Photo, protected: Photo, face: Face, after: Face, recognisers: Sequence[Recogniser]
) -> tuple[Similarity, ...]:
    """What recognisers say of a face before and after, as ``c2p check`` does."""
    before, now = (verify.crop_face(View(p), f) for p, f in ((original, face), (protected, after)))
    return verify.measure_similarities(before, now, recognisers, [r.name for r in recognisers], pick_device("auto"))


def find_role(family: str, hold_out: str, searched: bool) -> Role:
    """What a family's recognisers were to a run that held ``hold_out`` out."""
    return "white-box" if searched and family != hold_out else "held-out"


def make_scores(similarities: tuple[Similarity, ...], hold_out: str, searched: bool) -> tuple[Score, ...]:
    """Similarities as they are kept, with the role that each recogniser had in this run."""

    return tuple(
        Score(
            recogniser=s.recogniser,
            family=s.family,
            role=find_role(s.family, hold_out, searched),
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
        BadRecogniser: what ``extra`` names is no recogniser.
    """
    again = bool(task.wants & {"protect", "pairs"})
    seen, made, wall = make_picture(task.photo, task.setting, task.folders.pictures, again, store)
    return Done(
        protect=_measure_protection(task, seen, made, wall, store) if "protect" in task.wants else None,
        natural=measure_naturalness(task.setting, seen, task.code) if "natural" in task.wants else None,
        robustness=_measure_robustness(task, seen, store) if "robustness" in task.wants else None,
        pairs=_compare_pairs(task, seen, store) if "pairs" in task.wants else None,
        extra=_ask_extra_recogniser(task, seen) if "extra" in task.wants else None,
    )


def make_picture(
    photo: Path, setting: Setting, pictures: Path, again: bool, store: ModelStore, method: Method | None = None
) -> tuple[Seen, Made, float]:
    """The face before and after, what it took to make the picture, and the wall time of the method's call.

    Args:
        pictures: folder in which the picture is kept.
        again: make it even if it is there; one that is not made again took no steps and no time.
        method: that makes it; the setting's when None.
    """
    original, face = read_original(photo, store)
    picture = pictures / setting.picture
    if again or not picture.exists():
        started = time.perf_counter()
        made = Made(original) if face is None else (method or METHODS[setting.method])(original, face, setting, store)
        wall = time.perf_counter() - started
        _write_picture(picture, made.photo)
    else:
        made, wall = Made(Photo(np.asarray(Image.open(picture).convert("RGB")))), 0.0
    after = (
        None if face is None else match_face(face.box, [f for f in faces.find_faces(made.photo, store) if f.mesh.size])
    )
    return Seen(original, made.photo, face, after), made, wall


def _compare_original(task: Task, seen: Seen, store: ModelStore) -> tuple[Score, ...]:
    if seen.face is None or seen.after is None:
        return ()
    similarities = compare_faces(seen.original, seen.protected, seen.face, seen.after, load_every_recogniser(store))
    return make_scores(similarities, task.setting.hold_out, task.setting.method in SEARCHED)


def _measure_protection(task: Task, seen: Seen, made: Made, wall: float, store: ModelStore) -> ProtectRow:
    scores, others = _compare_original(task, seen, store), 0
    if scores and task.gallery is not None:
        people = gallery.load(task.gallery)
        others = int(people.others(task.setting.face).sum())
        scores = _add_ranks(scores, task, seen, people, store)
    if scores and task.setting.method == DECOY_METHOD:
        scores = _add_decoy(scores, seen, store)
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


def _add_ranks(
    scores: tuple[Score, ...], task: Task, seen: Seen, people: gallery.Gallery, store: ModelStore
) -> tuple[Score, ...]:
    assert seen.after is not None
    recognisers = load_every_recogniser(store)
    probe = verify.embed_face(verify.crop_face(View(seen.protected), seen.after), recognisers, pick_device("auto"))
    return tuple(
        replace(s, rank=people.rank(task.setting.face, s.recogniser, probe[s.recogniser].cpu().numpy(), s.after))
        for s in scores
    )


def _add_decoy(scores: tuple[Score, ...], seen: Seen, store: ModelStore) -> tuple[Score, ...]:
    """Add similarities to the decoy that the search aimed at, which the optimised recognisers chose.

    Scores of recognisers for which no decoys were made stay as they are.
    """
    assert seen.face is not None and seen.after is not None
    device, path = pick_device("auto"), store.path("decoys")
    with safe_open(path, "pt") as decoys:
        known = set(decoys.keys())
    recognisers = [r for r in load_every_recogniser(store) if r.name in known]
    before = verify.embed_face(verify.crop_face(View(seen.original), seen.face), recognisers, device)
    after = verify.embed_face(verify.crop_face(View(seen.protected), seen.after), recognisers, device)
    optimised = {s.recogniser: before[s.recogniser] for s in scores if s.role == "white-box" and s.recogniser in before}
    wanted = nearest_decoy(optimised, load_decoys(path, recognisers, device))
    return tuple(
        replace(
            s,
            decoy_before=float(before[s.recogniser] @ wanted[s.recogniser]),
            decoy=float(after[s.recogniser] @ wanted[s.recogniser]),
        )
        if s.recogniser in wanted
        else s
        for s in scores
    )


def measure_naturalness(setting: Setting, seen: Seen, code: str) -> NaturalRow:
    """All figures of `NaturalRow`."""
    before_rgb, after_rgb = rgb8(seen.original), rgb8(seen.protected)
    face, after = seen.face, seen.after
    moved = None if face is None or after is None else expression.displacement(face.mesh, after.mesh, face.eye_distance)
    form = None if face is None or after is None else expression.form_shift(face.mesh, after.mesh)
    shift = None if face is None else skin.skin_colour_shift(before_rgb, after_rgb, face)
    spots, flow, like = (None, None, None) if face is None else patchiness.on_canvas(before_rgb, after_rgb, face)
    return NaturalRow(
        setting=setting,
        psnr=image_quality.psnr(before_rgb, after_rgb),
        ssim=image_quality.ssim(before_rgb, after_rgb),
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
        ms_ssim=image_quality.ms_ssim(before_rgb, after_rgb),
        flip=image_quality.flip(before_rgb, after_rgb),
        psnr_face=like.psnr if like else None,
        ssim_face=like.ssim if like else None,
        ms_ssim_face=like.ms_ssim if like else None,
        flip_face=like.flip if like else None,
        box_overlap=box_iou(face.box, after.box) if face is not None and after is not None else None,
        expression_changes=form.expression if form else None,
        landmark_shift=form.landmarks if form else None,
        nose_width=form.nose_width if form else None,
    )


def _measure_robustness(task: Task, seen: Seen, store: ModelStore) -> RobustnessRow:
    scores = _compare_original(task, seen, store)
    if seen.face is None or seen.after is None:
        return RobustnessRow(task.setting, (), {}, task.code)
    results = measure_robustness(
        seen.original, seen.face, seen.protected, seen.after, load_every_recogniser(store), store, pick_device("auto")
    )
    degraded = {s.degradation: tuple((v.before, v.after) for v in s.similarities) for s in results}
    return RobustnessRow(task.setting, scores, degraded, task.code)


def _compare_pairs(task: Task, seen: Seen, store: ModelStore) -> PairRow:
    """The other photos are what a searcher has; the protected one is what was published."""
    if seen.face is None or seen.after is None:
        return PairRow(task.setting, {}, task.code)
    scores: dict[str, tuple[Score, ...]] = {}
    for photo in task.others:
        other, face = read_original(photo, store)
        if face is None:
            continue
        recognisers = load_every_recogniser(store)
        before = compare_faces(other, seen.original, face, seen.face, recognisers)
        now = compare_faces(other, seen.protected, face, seen.after, recognisers)
        pairs = tuple(replace(a, before=b.after) for a, b in zip(now, before, strict=True))
        scores[photo.stem] = make_scores(pairs, task.setting.hold_out, task.setting.method in SEARCHED)
    return PairRow(task.setting, scores, task.code)


def _ask_extra_recogniser(task: Task, seen: Seen) -> ExtraRow:
    scores: tuple[Score, ...] = ()
    if seen.face is not None and seen.after is not None:
        similarities = compare_faces(
            seen.original, seen.protected, seen.face, seen.after, [load_extra_recogniser(task.extra)]
        )
        scores = tuple(
            replace(s, role="extra") for s in make_scores(similarities, task.setting.hold_out, searched=False)
        )
    return ExtraRow(task.setting, task.extra, scores, seen.face is not None, seen.after is not None, task.code)
