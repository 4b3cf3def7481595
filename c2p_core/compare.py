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
from c2p_core.faces.select import no_face, tolerate_small
from c2p_core.faces.view import View
from c2p_core.models.licences import licence_warnings
from c2p_core.models.loaded import WarmModels, get_recognisers
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import unmeasured_warnings
from c2p_core.robustness import measure_robustness

_STEP = 1.01 / 255  # of 8 bits, and what conversions add to it


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
        full: whether "auto" includes the full profile's.

    Returns:
        one report per face of ``original``, in number order; what is not found there again is no face.

    Raises:
        BadRequest: the pictures have different proportions, or a recogniser is unknown.
        NoFace: the original has no face that can be compared.
        ModelUnavailable: a model is missing and could not be fetched.
    """
    ratio = (protected.width / original.width, protected.height / original.height)
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise BadRequest("proportions-differ")
    store, kept = store or ModelStore(), warm or WarmModels()
    collected: list[Message] = []
    preferred = pick_device(device, collected)
    first, second = View(original), View(protected)
    before = tolerate_small(find_faces_in(first, store))
    if not any(not face.skipped for face in before):
        raise no_face(before)

    def compare_on(attempt: Attempt) -> tuple[FaceReport, ...]:
        where = attempt.plan.device
        # Recorded where a run wants them so, or a card would hold all of them twice.
        loaded, _ = get_recognisers(recognisers, store, where, kept, full, attempt.plan.recorded)
        licences = licence_warnings(store, [r.name for r in loaded])
        notices = [] if attempt.notice is None else [attempt.notice]
        messages = (*unmeasured_warnings(loaded), *licences, *notices)
        reports = []
        for face in before:
            report = FaceReport(face.number, face.box, face.eye_distance, face.skipped)
            if not face.skipped:
                match = find_again(second, _rescale(face, ratio), store)
                if match is None and find_again(first, face, store) is None:
                    # Not a face, but a pattern that resembles one at one scale, or it would be found again here.
                    continue
                if match is None:
                    report = replace(report, skipped=Message("no-face-in-its-place"))
                else:
                    names = [r.name for r in loaded]
                    similarities = verify.measure_similarities(
                        verify.crop_face(first, face), verify.crop_face(second, match), loaded, names, where
                    )
                    report = replace(report, similarities=similarities)
                    if robustness:
                        rows = measure_robustness(original, face, protected, match, loaded, store, where)
                        report = replace(report, robustness=rows)
            reports.append(report)
        if not reports:
            raise no_face(())
        collected.extend(messages)
        return tuple(reports)

    usual = plan_attempts(preferred, 1)[0]
    attempts = usual, Attempt(ComputePlan(CPU), Message("check-on-processor"))
    reports = run_first_that_fits(kept.release, attempts, compare_on)
    if warnings is not None:
        warnings += [*collected, *store.take_notices()]
    return reports


def are_the_same(first: Photo, second: Photo) -> bool:
    """Whether two photos show the same colours, in whatever encoding, to within a step of 8 bits."""
    if (first.width, first.height) != (second.width, second.height):
        return False
    pixels = [View(photo).read(0, 0, photo.width, photo.height) for photo in (first, second)]
    return bool((pixels[0] - pixels[1]).abs().max() <= _STEP)


def _rescale(face: Face, ratio: tuple[float, float]) -> Face:
    """The face in the pixels of a picture resized by ``ratio`` (horizontally, vertically)."""
    mesh = (face.mesh * np.array(ratio)).astype(np.float32)
    return replace(face, mesh=mesh, eye_distance=face.eye_distance * ratio[0])
