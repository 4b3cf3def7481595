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
from benchmarks.methods.catalogue import METHODS, SEARCH_METHODS, Method, MethodResult
from benchmarks.methods.strengths import DECOY_METHOD
from benchmarks.metrics import expression, image_quality, patchiness, skin
from benchmarks.metrics.image_quality import to_rgb8
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
    """The missing measurements of one setting.

    Attributes:
        photo: the original.
        setting: how it is protected.
        missing: names of the fields of `TaskRows` that are missing.
        folders: where the picture is stored.
        code: fingerprint for the rows.
        gallery: file of the other people; None for no search among them.
        others: further photos of the same person.
        extra: ``module:function`` of an external recogniser.
    """

    photo: Path
    setting: Setting
    missing: frozenset[str]
    folders: RunFolders
    code: str
    gallery: Path | None = None
    others: tuple[Path, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class TaskRows:
    """New rows of a task."""

    protect: ProtectRow | None = None
    natural: NaturalRow | None = None
    robustness: RobustnessRow | None = None
    pairs: PairRow | None = None
    extra: ExtraRow | None = None


@dataclass(frozen=True)
class FacePair:
    """A face before and after protection; either can be missing."""

    original: Photo
    protected: Photo
    face: Face | None
    protected_face: Face | None


def _write_picture(path: Path, photo: Photo) -> None:
    """Write a PNG atomically, so that a kill leaves no partial picture that a resumed run would trust."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(to_rgb8(photo)).save(encoded, "PNG", compress_level=3)
    write_whole(path, encoded.getvalue())


@lru_cache(maxsize=4)
def read_original(photo: Path, store: ModelStore) -> tuple[Photo, Face | None]:
    """Read a photo and find its largest face that can be protected; cached, as a face's settings follow each other."""
    original = photo_files.read(photo)
    return original, next((f for f in faces.find_faces(original, store) if not f.skipped), None)


def compare_faces(
    original: Photo, protected: Photo, face: Face, after: Face, recognisers: Sequence[Recogniser]
) -> tuple[Similarity, ...]:
    """Measure similarities of a face before and after protection, as ``c2p check`` does."""
    crop_before, crop_after = (verify.crop_face(View(p), f) for p, f in ((original, face), (protected, after)))
    return verify.measure_similarities(
        crop_before, crop_after, recognisers, [r.name for r in recognisers], pick_device("auto")
    )


def find_role(family: str, hold_out: str, searched: bool) -> Role:
    """The role of a family's recognisers in a run that held ``hold_out`` out."""
    return "white-box" if searched and family != hold_out else "held-out"


def make_scores(similarities: tuple[Similarity, ...], hold_out: str, searched: bool) -> tuple[Score, ...]:
    """Convert similarities to stored scores, with the role of each recogniser in this run."""
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


def measure(task: Task, store: ModelStore) -> TaskRows:
    """Run a task. An existing picture is made again only to measure its protection.

    Raises:
        ModelUnavailable: a recogniser or another model is not available.
        BadRecogniser: ``extra`` is no recogniser.
    """
    overwrite = bool(task.missing & {"protect", "pairs"})
    pair, result, seconds = make_picture(task.photo, task.setting, task.folders.pictures, overwrite, store)
    return TaskRows(
        protect=_measure_protection(task, pair, result, seconds, store) if "protect" in task.missing else None,
        natural=measure_naturalness(task.setting, pair, task.code) if "natural" in task.missing else None,
        robustness=_measure_robustness(task, pair, store) if "robustness" in task.missing else None,
        pairs=_compare_pairs(task, pair, store) if "pairs" in task.missing else None,
        extra=_compare_by_extra_recogniser(task, pair) if "extra" in task.missing else None,
    )


def make_picture(
    photo: Path, setting: Setting, pictures: Path, overwrite: bool, store: ModelStore, method: Method | None = None
) -> tuple[FacePair, MethodResult, float]:
    """Make the picture: the face before and after, the method's result, and the wall time of its call.

    Args:
        pictures: folder in which the picture is stored.
        overwrite: make it even if it exists; an existing one has no steps and no time.
        method: makes the picture; the setting's when None.
    """
    original, face = read_original(photo, store)
    picture = pictures / setting.picture
    if overwrite or not picture.exists():
        started = time.perf_counter()
        result = (
            MethodResult(original)
            if face is None
            else (method or METHODS[setting.method])(original, face, setting, store)
        )
        seconds = time.perf_counter() - started
        _write_picture(picture, result.photo)
    else:
        result, seconds = MethodResult(Photo(np.asarray(Image.open(picture).convert("RGB")))), 0.0
    protected_face = (
        None
        if face is None
        else match_face(face.box, [f for f in faces.find_faces(result.photo, store) if f.mesh.size])
    )
    return FacePair(original, result.photo, face, protected_face), result, seconds


def _compare_original(task: Task, pair: FacePair, store: ModelStore) -> tuple[Score, ...]:
    if pair.face is None or pair.protected_face is None:
        return ()
    similarities = compare_faces(
        pair.original, pair.protected, pair.face, pair.protected_face, load_every_recogniser(store)
    )
    return make_scores(similarities, task.setting.hold_out, task.setting.method in SEARCH_METHODS)


def _measure_protection(task: Task, pair: FacePair, result: MethodResult, wall: float, store: ModelStore) -> ProtectRow:
    scores, gallery_size = _compare_original(task, pair, store), 0
    if scores and task.gallery is not None:
        people = gallery.load(task.gallery)
        gallery_size = int(people.mask_others(task.setting.face).sum())
        scores = _add_ranks(scores, task, pair, people, store)
    if scores and task.setting.method == DECOY_METHOD:
        scores = _add_decoy(scores, pair, store)
    face = pair.face
    return ProtectRow(
        setting=task.setting,
        scores=scores,
        face_before=face is not None,
        face_after=pair.protected_face is not None,
        box=(0.0, 0.0, 0.0, 0.0) if face is None else face.box,
        eye_distance=0.0 if face is None else float(face.eye_distance),
        steps=result.steps,
        seconds=float(result.seconds),
        wall=wall,
        peak_mib=peak_mib(),
        code=task.code,
        warnings=result.warnings,
        gallery=gallery_size,
    )


def _add_ranks(
    scores: tuple[Score, ...], task: Task, pair: FacePair, people: gallery.Gallery, store: ModelStore
) -> tuple[Score, ...]:
    assert pair.protected_face is not None
    recognisers = load_every_recogniser(store)
    probe = verify.embed_face(
        verify.crop_face(View(pair.protected), pair.protected_face), recognisers, pick_device("auto")
    )
    return tuple(
        replace(s, rank=people.rank(task.setting.face, s.recogniser, probe[s.recogniser].cpu().numpy(), s.after))
        for s in scores
    )


def _add_decoy(scores: tuple[Score, ...], pair: FacePair, store: ModelStore) -> tuple[Score, ...]:
    """Add similarities to the target decoy, which the optimised recognisers chose.

    Scores of recognisers without embeddings of decoys are unchanged.
    """
    assert pair.face is not None and pair.protected_face is not None
    device, path = pick_device("auto"), store.obtain("decoys")
    with safe_open(path, "pt") as decoys:
        names = set(decoys.keys())
    recognisers = [r for r in load_every_recogniser(store) if r.name in names]
    before = verify.embed_face(verify.crop_face(View(pair.original), pair.face), recognisers, device)
    after = verify.embed_face(verify.crop_face(View(pair.protected), pair.protected_face), recognisers, device)
    optimised = {s.recogniser: before[s.recogniser] for s in scores if s.role == "white-box" and s.recogniser in before}
    target = nearest_decoy(optimised, load_decoys(path, recognisers, device))
    return tuple(
        replace(
            s,
            decoy_before=float(before[s.recogniser] @ target[s.recogniser]),
            decoy=float(after[s.recogniser] @ target[s.recogniser]),
        )
        if s.recogniser in target
        else s
        for s in scores
    )


def measure_naturalness(setting: Setting, pair: FacePair, code: str) -> NaturalRow:
    """All figures of `NaturalRow`."""
    before_rgb, after_rgb = to_rgb8(pair.original), to_rgb8(pair.protected)
    face, protected_face = pair.face, pair.protected_face
    movement = (
        None
        if face is None or protected_face is None
        else expression.measure_displacement(face.mesh, protected_face.mesh, face.eye_distance)
    )
    form = (
        None
        if face is None or protected_face is None
        else expression.measure_form_shift(face.mesh, protected_face.mesh)
    )
    shift = None if face is None else skin.measure_skin_shift(before_rgb, after_rgb, face)
    spots, flow, likeness = (
        (None, None, None) if face is None else patchiness.measure_on_canvas(before_rgb, after_rgb, face)
    )
    return NaturalRow(
        setting=setting,
        psnr=image_quality.psnr(before_rgb, after_rgb),
        ssim=image_quality.ssim(before_rgb, after_rgb),
        mesh_shift=movement.mesh if movement else None,
        eye_shift=movement.eyes if movement else None,
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
        psnr_face=likeness.psnr if likeness else None,
        ssim_face=likeness.ssim if likeness else None,
        ms_ssim_face=likeness.ms_ssim if likeness else None,
        flip_face=likeness.flip if likeness else None,
        box_overlap=box_iou(face.box, protected_face.box) if face is not None and protected_face is not None else None,
        expression_changes=form.expression if form else None,
        landmark_shift=form.landmarks if form else None,
        nose_width=form.nose_width if form else None,
    )


def _measure_robustness(task: Task, pair: FacePair, store: ModelStore) -> RobustnessRow:
    scores = _compare_original(task, pair, store)
    if pair.face is None or pair.protected_face is None:
        return RobustnessRow(task.setting, (), {}, task.code)
    results = measure_robustness(
        pair.original,
        pair.face,
        pair.protected,
        pair.protected_face,
        load_every_recogniser(store),
        store,
        pick_device("auto"),
    )
    degraded = {s.degradation: tuple((v.before, v.after) for v in s.similarities) for s in results}
    return RobustnessRow(task.setting, scores, degraded, task.code)


def _compare_pairs(task: Task, pair: FacePair, store: ModelStore) -> PairRow:
    """Compare with other photos: a searcher has those, and finds the protected one."""
    if pair.face is None or pair.protected_face is None:
        return PairRow(task.setting, {}, task.code)
    scores: dict[str, tuple[Score, ...]] = {}
    for photo in task.others:
        other, face = read_original(photo, store)
        if face is None:
            continue
        recognisers = load_every_recogniser(store)
        before = compare_faces(other, pair.original, face, pair.face, recognisers)
        after = compare_faces(other, pair.protected, face, pair.protected_face, recognisers)
        pairs = tuple(replace(a, before=b.after) for a, b in zip(after, before, strict=True))
        scores[photo.stem] = make_scores(pairs, task.setting.hold_out, task.setting.method in SEARCH_METHODS)
    return PairRow(task.setting, scores, task.code)


def _compare_by_extra_recogniser(task: Task, pair: FacePair) -> ExtraRow:
    scores: tuple[Score, ...] = ()
    if pair.face is not None and pair.protected_face is not None:
        similarities = compare_faces(
            pair.original, pair.protected, pair.face, pair.protected_face, [load_extra_recogniser(task.extra)]
        )
        scores = tuple(
            replace(s, role="extra") for s in make_scores(similarities, task.setting.hold_out, searched=False)
        )
    return ExtraRow(task.setting, task.extra, scores, pair.face is not None, pair.protected_face is not None, task.code)
