"""Protects a whole photo: detect faces, invert each, search; then paste back and verify (``direction``)."""

from __future__ import annotations

from dataclasses import replace

from c2p_core import verify
from c2p_core.api import (
    CancelToken,
    Computation,
    PreviewCallback,
    ProgressCallback,
    ProtectRequest,
    ProtectResult,
)
from c2p_core.device import measure_peak_memory, name_device
from c2p_core.direction import Direction, apply_direction
from c2p_core.errors import Message
from c2p_core.face_search import search_faces
from c2p_core.face_settings import choose_face_settings
from c2p_core.faces.amounts import AS_FOUND, Amounts
from c2p_core.guidance.looks import list_prompt_warnings
from c2p_core.models.loaded import Models, WarmModels, load_models
from c2p_core.models.store import ModelStore
from c2p_core.references import embed_references
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

    def work(run: Run) -> ProtectResult:
        direction = _find_direction(run, detected)
        return apply_direction(direction, amounts, layers=request.layers, on_stage=run.report_progress)

    result = run_with_fitting_plan(run, len(detected.subjects), work)
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
    direction = run_with_fitting_plan(
        run, len(detected_faces.subjects), lambda run: _find_direction(run, detected_faces)
    )
    return replace(direction, warnings=(*direction.warnings, *run.store.take_notices()))


def _detect(run: Run) -> DetectedFaces:
    """Detect the faces."""
    warnings: list[Message] = []
    run.report_progress("detect")
    faces, subjects = find_subjects(run.request, run.store, warnings)
    return DetectedFaces(faces, tuple(subjects), tuple(warnings))


def _find_direction(run: Run, detected: DetectedFaces) -> Direction:
    """Load the models, invert, search."""
    request, warnings = run.request, [*run.warnings, *detected.warnings]
    run.report_progress("load")
    models = load_models(
        request,
        run.store,
        run.device,
        warnings,
        run.warm,
        lambda step, steps: run.report_progress("prepare", step=step, steps=steps),
        recorded=run.plan.recorded,
    )
    face_settings = [choose_face_settings(subject.face, request) for subject in detected.subjects]
    for prompt in dict.fromkeys(settings.prompt for settings in face_settings):
        warnings += list_prompt_warnings(prompt)
    references = _embed_references(run, models)
    changes = search_faces(run, models, detected.subjects, references, warnings)
    return Direction(
        request,
        detected.faces,
        changes,
        models.recognisers,
        models.held_out,
        run.device,
        run.store,
        tuple(warnings),
        _describe_computation(run),
    )


def _describe_computation(run: Run) -> Computation:
    request, device = run.request, run.device
    return Computation(
        request.profile,
        run.profile_reason,
        request.prior,
        request.clip,
        device.type,
        name_device(device),
        run.plan.faces_at_once,
        measure_peak_memory(device),
    )


def _embed_references(run: Run, models: Models) -> tuple[verify.Embeddings, ...]:
    """Embed the references of the request, once for all consecutive runs with the same ones."""
    photos = run.request.references
    if not photos:
        return ()
    names = tuple(recogniser.name for recogniser in models.recognisers)
    # The cached value also holds the photos, so that no other objects can get their ids.
    _, embedded = run.warm.get(
        ("references", names, run.device),
        lambda: (photos, embed_references(photos, models.recognisers, run.device, run.store)),
        source=tuple(map(id, photos)),
    )
    return embedded
