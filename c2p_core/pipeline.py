"""Protects a whole photo: detect faces, invert each, search; then paste back and verify (``direction``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from torch import Tensor

from c2p_core import verify
from c2p_core.api import (
    CancelToken,
    Preview,
    PreviewCallback,
    ProgressCallback,
    ProtectRequest,
    ProtectResult,
)
from c2p_core.direction import Direction, FoundChange, apply_direction
from c2p_core.errors import Message
from c2p_core.face_settings import FaceSettings, protected_before, settings_for, shorten_search, start_from
from c2p_core.faces import refine_landmarks
from c2p_core.faces.amounts import AS_FOUND, Amounts
from c2p_core.faces.canvas import CanvasFace
from c2p_core.guidance.looks import paints_anything, prompt_warnings
from c2p_core.io.rgb8 import tensor_as_bytes
from c2p_core.models.loaded import Models, WarmModels, load_models
from c2p_core.models.store import ModelStore
from c2p_core.priors.prior import InvertedFace
from c2p_core.recognition.decoys import nearest_decoy
from c2p_core.references import embed_references, mean_embedding, select_same_person
from c2p_core.run import Run, run_on_fitting_device
from c2p_core.search import SearchResult, Target, search
from c2p_core.starting_look import choose_starting_look, leave_out_hidden, literal_look
from c2p_core.subjects import Found, Subject, find_subjects


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
        preview: called with each face before its search and about every 15th step.
        cancel: set it from any thread to stop within one step.
        store: the default store when None.
        warm: keeps models loaded for the next run; they are loaded for this run only when None.

    Raises:
        BadRequest: an option is out of range or unknown.
        NoFace: there is no face that can be protected.
        ModelUnavailable: a model is missing and could not be fetched.
        Cancelled: ``cancel`` was set.
    """

    def attempt(run: Run) -> ProtectResult:
        return apply_direction(_find_direction(run, None), amounts, layers=request.layers, tell=run.tell)

    return run_on_fitting_device(request, attempt, progress, preview, cancel, store, warm)


def find_direction(
    request: ProtectRequest,
    *,
    progress: ProgressCallback | None = None,
    preview: PreviewCallback | None = None,
    cancel: CancelToken | None = None,
    store: ModelStore | None = None,
    warm: WarmModels | None = None,
    found: Found | None = None,
) -> Direction:
    """Search as ``protect`` does, which takes the same arguments, and change nothing yet.

    ``direction.apply_direction`` applies what was found by any amount; ``sketch.Sketch`` shows and measures it faster.

    Args:
        found: the faces of the photo, where ``find_subjects`` found them before; the request must choose the same ones.
    """
    return run_on_fitting_device(
        request, lambda run: _find_direction(run, found), progress, preview, cancel, store, warm
    )


def _find_direction(run: Run, known: Found | None) -> Direction:
    """Detect, invert, search."""
    request, store, warnings = run.request, run.store, [*run.warnings]
    run.tell("detect")
    if known is None:
        faces, subjects = find_subjects(request, store, warnings)
    else:
        faces, subjects = known.faces, list(known.subjects)
        warnings += known.warnings

    run.tell("load")
    models = load_models(
        request, store, run.device, warnings, run.warm, lambda step, steps: run.tell("prepare", step=step, steps=steps)
    )
    chosen = [settings_for(subject.face, request) for subject in subjects]
    for prompt in dict.fromkeys(settings.prompt for settings in chosen):
        warnings += prompt_warnings(prompt)

    references = _embed_references(run, models)

    found: list[FoundChange] = []
    for index, (subject, settings) in enumerate(zip(subjects, chosen, strict=True)):
        began = time.perf_counter()
        tell = partial(run.tell, face=index + 1, faces=len(subjects))
        tell("prepare")
        canvas = subject.canvas.to(run.device)
        inverted = models.prior.invert(canvas, settings.strength, request.keep_expression, settings.locks)
        look, hidden = leave_out_hidden(_choose_look(settings, inverted, canvas, models), canvas)
        if hidden:
            warnings.append(Message("products-covered", number=subject.face.number, products=list(hidden)))
        inverted = inverted.with_look(look)
        own = verify.embed_face(subject.original_canvas, models.recognisers, run.device)
        same = select_same_person(own, references, models.recognisers)
        if request.references and not same:
            warnings.append(Message("references-of-others", face=subject.face.number))
        result = _search(run, models, subject, settings, mean_embedding(own, same), canvas, inverted, tell)
        change = inverted.change(result.code)
        seconds = time.perf_counter() - began
        found.append(FoundChange(subject, change, result.code, result.steps, seconds, same))
    return Direction(
        request, faces, tuple(found), models.recognisers, models.held_out, run.device, store, tuple(warnings)
    )


def _choose_look(settings: FaceSettings, inverted: InvertedFace, canvas: CanvasFace, models: Models) -> Tensor:
    """The (9, 6) look that the search starts from."""
    if settings.literal:
        return literal_look(settings.prompt, settings.seed)
    return choose_starting_look(settings.prompt, inverted.preview, canvas.mesh, models.guidance, settings.seed)


def _embed_references(run: Run, models: Models) -> tuple[verify.Embeddings, ...]:
    """Once for all photos that are protected with the same ones, in one run after the other."""
    photos = run.request.references
    if not photos:
        return ()
    names = tuple(recogniser.name for recogniser in models.recognisers)
    # What is kept holds the photos too, so that no other ones can have their identities.
    _, embedded = run.warm.get(
        ("references", names, run.device),
        lambda: (photos, embed_references(photos, models.recognisers, run.device, run.store)),
        source=tuple(map(id, photos)),
    )
    return embedded


def _search(
    run: Run,
    models: Models,
    subject: Subject,
    settings: FaceSettings,
    own: verify.Embeddings,
    canvas: CanvasFace,
    inverted: InvertedFace,
    tell: Callable[..., None],
) -> SearchResult:
    """Run the search on one face."""
    guidance, number = models.guidance, subject.face.number
    search_settings = shorten_search(run.settings, settings.earlier)

    def preview(step: int, pixels: Tensor) -> None:
        if run.preview is not None:
            run.preview(Preview(number, step, search_settings.steps, tensor_as_bytes(pixels)))

    # Who goes towards one decoy can't go away from photos that did so.
    away = protected_before(settings.earlier, run.device) if run.request.mode == "dodge" else {}
    preview(0, canvas.pixels)
    # For a prompt without any product, text guidance would only shift the light towards the look of makeup.
    text = (guidance, guidance.direction(settings.prompt)) if paints_anything(settings.prompt) else None
    return search(
        inverted,
        canvas,
        start_from(settings.earlier, inverted.start()),
        models.optimised,
        Target(own, nearest_decoy(own, models.decoys), away),
        text,
        search_settings,
        settings.seed,
        lambda step, steps: tell("search", step=step, steps=steps),
        run.cancel,
        preview,
        lambda pixels, mesh: refine_landmarks(pixels, mesh, run.store),
    )
