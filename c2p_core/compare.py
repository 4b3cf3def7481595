"""Two pictures of the same people: what every recogniser says of each face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from c2p_core import verify
from c2p_core.api import Device, Face, FaceReport
from c2p_core.device import CPU, pick_device, run_first_that_fits
from c2p_core.errors import BadRequest, NoFace
from c2p_core.faces import find_again, find_faces_in
from c2p_core.faces.select import no_face_message, tolerate_small
from c2p_core.faces.view import View
from c2p_core.models.loaded import WarmModels, get_recognisers
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.robustness import measure_robustness


def check(
    original: Photo,
    protected: Photo,
    *,
    store: ModelStore | None = None,
    device: Device = "auto",
    warm: WarmModels | None = None,
    survive: bool = False,
    warnings: list[str] | None = None,
) -> tuple[FaceReport, ...]:
    """What every recogniser that is there says of each face of ``original`` in ``protected``.

    The protected picture may have been resized; faces are matched by where they are. With ``survive`` the reports also
    say what they make of it after degradations (``robustness``). ``warnings`` gets sentences for the user.

    Raises:
        BadRequest: the pictures have different proportions.
        NoFace: the original has no face that can be compared.
    """
    ratio = (protected.width / original.width, protected.height / original.height)
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise BadRequest("The two pictures have different proportions; compare a photo with its own protected copy.")
    store, kept = store or ModelStore(), warm or WarmModels()
    warnings = [] if warnings is None else warnings
    preferred = pick_device(device, warnings)
    first, second = View(original), View(protected)
    before = tolerate_small(find_faces_in(first, store))
    if not any(not face.skipped for face in before):
        raise NoFace(no_face_message(before))

    def compared(where: torch.device, *said: str) -> tuple[FaceReport, ...]:
        recognisers, _ = get_recognisers("auto", store, where, kept)
        reports = []
        for face in before:
            report = FaceReport(face.number, face.box, face.eye_distance, face.skipped)
            if not face.skipped:
                match = find_again(second, _resized(face, ratio), store)
                if match is None:
                    report = replace(report, skipped="no face is found in its place in the second picture")
                else:
                    names = [r.name for r in recognisers]
                    rows = verify.measure_similarities(
                        verify.crop_face(first, face), verify.crop_face(second, match), recognisers, names, where
                    )
                    report = replace(report, similarities=rows)
                    if survive:
                        survived = measure_robustness(original, face, protected, match, recognisers, store, where)
                        report = replace(report, survival=survived)
            reports.append(report)
        warnings.extend(said)
        return tuple(reports)

    return run_first_that_fits(
        kept.release,
        lambda: compared(preferred),
        lambda: compared(CPU, "The graphics card has too little memory for this check; the processor did it."),
    )


def _resized(face: Face, ratio: tuple[float, float]) -> Face:
    """Where the face lies in a picture that was resized by ``ratio`` across and down."""
    mesh = (face.mesh * np.array(ratio)).astype(np.float32)
    return replace(face, mesh=mesh, eye_distance=face.eye_distance * ratio[0])
