"""Protects a whole photo: detect, invert, search, paste, verify."""

from __future__ import annotations

from dataclasses import replace

from c2p_core.api import CancelToken, PreviewCallback, ProgressCallback, ProtectRequest, ProtectResult
from c2p_core.direction import Direction, paste_changes, verify_faces
from c2p_core.errors import Message
from c2p_core.face_inversion import invert_faces
from c2p_core.face_search import search_faces
from c2p_core.faces.amounts import AS_FOUND, Amounts
from c2p_core.loaded_run import load_run
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.run import Run, begin_run, run_with_fitting_plan
from c2p_core.subjects import DetectedFaces, find_subjects


def protect(
    request: ProtectRequest,
    *,
    amounts: Amounts = AS_FOUND,
    progress: ProgressCallback | None = None,
    preview: PreviewCallback | None = None,
    cancel: CancelToken | None = None,
    store: ModelStore | None = None,
    warm: WarmModels | None = None,
) -> ProtectResult:
    """Protect the faces of a photo.

    Args:
        request: what to protect and how.
        amounts: how much of what the search finds is applied.
        progress: called at every stage and search step.
        preview: called with each face before its search and at every evaluation of it (``search.py``).
        cancel: set it from any thread to stop within one step.
        store: the default store when None.
        warm: keeps models loaded for the next run; they are loaded for this run only when None.

    Raises:
        BadRequest: an option is out of range or unknown.
        NoFace: there is no face that can be protected.
        ModelUnavailable: a model is missing and could not be fetched.
        Cancelled: ``cancel`` was set.
    """
    run = begin_run(request, progress, preview, cancel, store, warm)
    detected = _detect(run)

    def protect_detected(run: Run) -> ProtectResult:
        loaded = load_run(run, detected)
        inverted = invert_faces(loaded)
        direction = search_faces(loaded, inverted)
        run.report_progress("paste")
        pasted = paste_changes(direction, amounts, layers=request.layers)
        run.report_progress("verify")
        return verify_faces(direction, pasted)

    result = run_with_fitting_plan(run, len(detected.subjects), protect_detected)
    return replace(result, warnings=(*result.warnings, *run.store.take_notices()))


def find_direction(
    request: ProtectRequest,
    *,
    progress: ProgressCallback | None = None,
    preview: PreviewCallback | None = None,
    cancel: CancelToken | None = None,
    store: ModelStore | None = None,
    warm: WarmModels | None = None,
    detected: DetectedFaces | None = None,
) -> Direction:
    """Search like ``protect``, which takes the same arguments, but change nothing yet.

    ``direction.apply_direction`` applies the result by any amount; ``sketch.Sketch`` shows and measures it faster.

    Args:
        detected: the faces of the photo if ``find_subjects`` has found them already, for the same choice of faces.
    """
    run = begin_run(request, progress, preview, cancel, store, warm)
    detected_faces = detected or _detect(run)

    def search_detected(run: Run) -> Direction:
        loaded = load_run(run, detected_faces)
        return search_faces(loaded, invert_faces(loaded))

    direction = run_with_fitting_plan(run, len(detected_faces.subjects), search_detected)
    return replace(direction, warnings=(*direction.warnings, *run.store.take_notices()))


def _detect(run: Run) -> DetectedFaces:
    """Detect the faces."""
    warnings: list[Message] = []
    run.report_progress("detect")
    faces, subjects = find_subjects(run.request, run.store, warnings)
    return DetectedFaces(faces, tuple(subjects), tuple(warnings))
