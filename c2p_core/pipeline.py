"""Protects a whole photo: detect faces, invert each, search, paste back, verify."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from c2p_core import verify
from c2p_core.api import (
    CancelToken,
    FaceReport,
    Preview,
    PreviewCallback,
    Progress,
    ProgressCallback,
    ProtectRequest,
    ProtectResult,
)
from c2p_core.device import CPU, pick_device, run_first_that_fits
from c2p_core.errors import Message
from c2p_core.faces import find_again, refine_face, refine_landmarks
from c2p_core.faces.align import Alignment, align
from c2p_core.faces.canvas import CanvasFace, Change
from c2p_core.faces.layers import build_layers
from c2p_core.faces.paste import paste
from c2p_core.faces.view import View
from c2p_core.guidance.looks import paints_anything, prompt_warnings
from c2p_core.io.colour_profiles import profile_warnings
from c2p_core.io.rgb8 import tensor_as_bytes
from c2p_core.models.loaded import Models, WarmModels, load_models
from c2p_core.models.store import ModelStore
from c2p_core.priors.prior import InvertedFace
from c2p_core.recognition.decoys import nearest_decoy
from c2p_core.recognition.other_photos import find_stronger, read_other_photos
from c2p_core.search import SearchResult, SearchSettings, Target, search
from c2p_core.starting_look import choose_starting_look, leave_out_hidden
from c2p_core.subjects import Subject, find_subjects
from c2p_core.validate import check_request


@dataclass(frozen=True)
class _Run:
    """One attempt at a request, on one device."""

    request: ProtectRequest
    settings: SearchSettings
    device: torch.device
    progress: ProgressCallback
    preview: PreviewCallback | None
    cancel: CancelToken
    store: ModelStore
    warm: WarmModels

    def tell(self, stage: str, face: int = 0, faces: int = 0, step: int = 0, steps: int = 0) -> None:
        """Report progress; raises ``Cancelled`` if the run was cancelled."""
        self.cancel.raise_if_cancelled()
        self.progress(Progress(stage, face, faces, step, steps))


def protect(
    request: ProtectRequest,
    *,
    progress: ProgressCallback | None = None,
    preview: PreviewCallback | None = None,
    cancel: CancelToken | None = None,
    store: ModelStore | None = None,
    warm: WarmModels | None = None,
) -> ProtectResult:
    """Protect the faces of a photo.

    Args:
        request: what to protect and how.
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
    check_request(request)
    steps = SearchSettings().steps if request.steps is None else request.steps
    settings, kept = SearchSettings(steps=steps), warm or WarmModels()
    warnings = profile_warnings(request.photo)
    device = pick_device(request.device, warnings)
    tell, token = progress or (lambda _: None), cancel or CancelToken()

    def attempt(device: torch.device, settings: SearchSettings, *messages: Message) -> ProtectResult:
        run = _Run(request, settings, device, tell, preview, token, store or ModelStore(), kept)
        return _protect(run, [*warnings, *messages])

    return run_first_that_fits(
        kept.release,
        lambda: attempt(device, settings),
        lambda: attempt(
            device,
            replace(settings, one_recogniser_per_step=True),
            Message("search-in-turns"),
        ),
        lambda: attempt(CPU, settings, Message("photo-on-processor")),
    )


def _protect(run: _Run, warnings: list[Message]) -> ProtectResult:
    """Detect, invert, search, paste, verify."""
    request, store = run.request, run.store
    run.tell("detect")
    faces, subjects = find_subjects(request, store, warnings)

    run.tell("load")
    models = load_models(
        request, store, run.device, warnings, run.warm, lambda step, steps: run.tell("prepare", step=step, steps=steps)
    )
    warnings += prompt_warnings(request.prompt)

    reports = {face.number: FaceReport(face.number, face.box, face.eye_distance, face.skipped) for face in faces}
    changes: list[tuple[Alignment, Change]] = []
    for index, subject in enumerate(subjects):
        began = time.perf_counter()
        tell = partial(run.tell, face=index + 1, faces=len(subjects))
        tell("prepare")
        face, canvas = subject.face, subject.canvas.to(run.device)
        inverted = models.prior.invert(canvas, request.strength, request.keep_expression)
        look = choose_starting_look(request.prompt, inverted.preview, canvas.mesh, models.guidance, request.seed)
        look, hidden = leave_out_hidden(look, canvas)
        if hidden:
            warnings.append(Message("products-covered", number=face.number, products=list(hidden)))
        inverted = inverted.with_look(look)
        result = _search(run, models, subject, canvas, inverted, tell)
        changes.append((align(face.mesh, face.eye_distance), inverted.change(result.code)))
        seconds = time.perf_counter() - began
        reports[face.number] = replace(reports[face.number], steps=result.steps, seconds=seconds)

    run.tell("paste")
    protected = paste(request.photo, changes)
    built = build_layers(request.photo, changes) if request.layers else []

    run.tell("verify")
    after = View(protected)
    for subject in subjects:
        # Where detection fails, a recogniser could still crop the face at its known position.
        detected = find_again(after, subject.original_face, store) or refine_face(after, subject.face, store)
        canvas = verify.crop_face(after, detected)
        rows = verify.measure_similarities(
            subject.original_canvas, canvas, models.recognisers, models.held_out, run.device
        )
        reports[subject.face.number] = replace(reports[subject.face.number], similarities=rows)
    left = [n for n, report in reports.items() if not report.similarities and not report.skipped]
    reports |= {n: replace(reports[n], skipped=Message("face-not-chosen")) for n in left}
    named = tuple(replace(layer, face=subjects[layer.face].face.number) for layer in built)
    usual = all(r.measured_by == "project" for r in models.recognisers)
    more = find_stronger(read_other_photos(store.path("other-photos")), request, usual)
    return ProtectResult(protected, tuple(reports.values()), tuple(warnings), named, more)


def _search(
    run: _Run,
    models: Models,
    subject: Subject,
    canvas: CanvasFace,
    inverted: InvertedFace,
    tell: Callable[..., None],
) -> SearchResult:
    """Run the search on one face."""
    request, guidance, number = run.request, models.guidance, subject.face.number

    def preview(step: int, pixels: Tensor) -> None:
        if run.preview is not None:
            run.preview(Preview(number, step, run.settings.steps, tensor_as_bytes(pixels)))

    preview(0, canvas.pixels)
    own = verify.embed_face(subject.original_canvas, models.optimised, run.device)
    # For a prompt without any product, text guidance would only shift the light towards the look of makeup.
    text = (guidance, guidance.direction(request.prompt)) if paints_anything(request.prompt) else None
    return search(
        inverted,
        canvas,
        inverted.start(),
        models.optimised,
        Target(own, nearest_decoy(own, models.decoys)),
        text,
        run.settings,
        request.seed,
        lambda step, steps: tell("search", step=step, steps=steps),
        run.cancel,
        preview,
        lambda pixels, mesh: refine_landmarks(pixels, mesh, run.store),
    )
