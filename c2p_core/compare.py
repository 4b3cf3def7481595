"""Compares two pictures of the same people, face by face, with every recogniser."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from c2p_core import verify
from c2p_core.api import Device, Face, FaceReport
from c2p_core.compute_plan import Attempt, ComputePlan, plan_attempts, run_first_that_fits
from c2p_core.device import CPU, pick_device
from c2p_core.errors import BadRequest, Message
from c2p_core.faces import find_again, find_faces_in
from c2p_core.faces.select import make_no_face_error, tolerate_small
from c2p_core.faces.view import View
from c2p_core.models.licences import list_licence_warnings
from c2p_core.models.loaded import WarmModels, get_recognisers
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import list_unmeasured_warnings
from c2p_core.robustness import measure_robustness

_STEP = 1.01 / 255  # of 8 bits, with a tolerance for conversions


def check(
    original: Photo,
    protected: Photo,
    *,
    store: ModelStore | None = None,
    device: Device = "auto",
    warm: WarmModels | None = None,
    robustness: bool = False,
    warnings: list[Message] | None = None,
    recognisers: Literal["auto"] | tuple[str, ...] = "auto",
    full: bool = False,
) -> tuple[FaceReport, ...]:
    """Compare every face of a photo with the same face in its protected copy.

    Args:
        original: the unchanged photo.
        protected: the protected one; it may have been resized. Faces are matched by their position.
        store: the default store when None.
        device: see `c2p_core.api.ProtectRequest`.
        warm: keeps models loaded between calls; loaded for this call only when None.
        robustness: also measure the similarities after degradations (``robustness``).
        warnings: messages for the user are appended here.
        recognisers: "auto" for all available ones, or names as those of `c2p_core.api.ProtectRequest`.
        full: whether "auto" includes those of the full profile.

    Returns:
        one report per face of ``original``, in number order; detections that can't be repeated are left out.

    Raises:
        BadRequest: the pictures have different proportions, or a recogniser is unknown.
        NoFace: the original has no face that can be compared.
        ModelUnavailable: a model is missing and could not be fetched.
    """
    ratio = (protected.width / original.width, protected.height / original.height)
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise BadRequest("proportions-differ")
    store, models = store or ModelStore(), warm or WarmModels()
    new_warnings: list[Message] = []
    preferred = pick_device(device, new_warnings)
    first, second = View(original), View(protected)
    before = tolerate_small(find_faces_in(first, store))
    if not any(not face.skipped for face in before):
        raise make_no_face_error(before)

    def compare_on(attempt: Attempt) -> tuple[FaceReport, ...]:
        compute_device = attempt.plan.device
        # Recorded if a run records them, or a card would hold all of them twice.
        loaded, _ = get_recognisers(recognisers, store, compute_device, models, full, attempt.plan.recorded)
        licences = list_licence_warnings(store, [r.name for r in loaded])
        notices = [] if attempt.notice is None else [attempt.notice]
        messages = (*list_unmeasured_warnings(loaded), *licences, *notices)
        reports = []
        for face in before:
            report = FaceReport(face.number, face.box, face.eye_distance, face.skipped)
            if not face.skipped:
                match = find_again(second, _rescale(face, ratio), store)
                if match is None and find_again(first, face, store) is None:
                    # A pattern that resembles a face at one scale only, or it would be found again here.
                    continue
                if match is None:
                    report = replace(report, skipped=Message("no-face-in-its-place"))
                else:
                    names = [r.name for r in loaded]
                    similarities = verify.measure_similarities(
                        verify.crop_face(first, face), verify.crop_face(second, match), loaded, names, compute_device
                    )
                    report = replace(report, similarities=similarities)
                    if robustness:
                        robustness_rows = measure_robustness(
                            original, face, protected, match, loaded, store, compute_device
                        )
                        report = replace(report, robustness=robustness_rows)
            reports.append(report)
        if not reports:
            raise make_no_face_error(())
        new_warnings.extend(messages)
        return tuple(reports)

    first_attempt = plan_attempts(preferred, 1)[0]
    attempts = first_attempt, Attempt(ComputePlan(CPU), Message("check-on-processor"))
    reports = run_first_that_fits(models.release, attempts, compare_on)
    if warnings is not None:
        warnings += [*new_warnings, *store.take_notices()]
    return reports


def show_same_colours(first: Photo, second: Photo) -> bool:
    """Whether two photos show the same colours, in whatever encoding, to within a step of 8 bits."""
    if (first.width, first.height) != (second.width, second.height):
        return False
    pixels = [View(photo).read(0, 0, photo.width, photo.height) for photo in (first, second)]
    return bool((pixels[0] - pixels[1]).abs().max() <= _STEP)


def _rescale(face: Face, ratio: tuple[float, float]) -> Face:
    """The face in the pixels of a picture resized by ``ratio`` (horizontally, vertically)."""
    mesh = (face.mesh * np.array(ratio)).astype(np.float32)
    return replace(face, mesh=mesh, eye_distance=face.eye_distance * ratio[0])
