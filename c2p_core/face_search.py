"""Prepares the faces of a photo for the search, and searches several at once, as planned by the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from c2p_core import verify
from c2p_core.activations import keep_in_main_memory
from c2p_core.api import Preview
from c2p_core.direction import FaceChange
from c2p_core.errors import Message
from c2p_core.face_settings import (
    FaceSettings,
    choose_face_settings,
    interpolate_start,
    shorten_search,
    stack_protected,
)
from c2p_core.faces import refine_landmarks
from c2p_core.faces.canvas import CanvasFace
from c2p_core.guidance.looks import paints_anything
from c2p_core.io.rgb8 import tensor_as_bytes
from c2p_core.models.loaded import Models
from c2p_core.priors.prior import InvertedFace
from c2p_core.recognition.decoys import nearest_decoy
from c2p_core.references import average_embeddings, select_same_person
from c2p_core.run import Run
from c2p_core.search import FaceSearch, SearchResult, search
from c2p_core.starting_look import choose_starting_look, leave_out_hidden, make_literal_look
from c2p_core.subjects import Subject
from c2p_core.terms import Target


@dataclass(frozen=True)
class _Prepared:
    """A face that is ready to be searched; ``seconds`` is the time that its preparation took."""

    subject: Subject
    face_search: FaceSearch
    references: tuple[verify.Embeddings, ...]
    seconds: float


def search_faces(
    run: Run,
    models: Models,
    subjects: Sequence[Subject],
    references: tuple[verify.Embeddings, ...],
    warnings: list[Message],
) -> tuple[FaceChange, ...]:
    """Invert and search the faces of a photo.

    Args:
        run: its plan determines how many faces are searched at once.
        models: of the run.
        subjects: the faces.
        references: embeddings of every reference photo of the request.
        warnings: messages for the user are appended here.
    """
    changes: list[FaceChange] = []
    for begin in range(0, len(subjects), run.plan.faces_at_once):
        group = range(begin, min(begin + run.plan.faces_at_once, len(subjects)))
        prepared = [_prepare(run, models, subjects, index, group, references, warnings) for index in group]
        start_time = time.perf_counter()
        with keep_in_main_memory() if run.plan.lean else nullcontext():
            results = search([face.face_search for face in prepared], models.optimised, run.cancel)
        seconds_per_face = (time.perf_counter() - start_time) / len(prepared)
        changes += [
            _make_face_change(face, result, seconds_per_face) for face, result in zip(prepared, results, strict=True)
        ]
    return tuple(changes)


def _prepare(
    run: Run,
    models: Models,
    subjects: Sequence[Subject],
    index: int,
    group: range,
    references: tuple[verify.Embeddings, ...],
    warnings: list[Message],
) -> _Prepared:
    """Invert a face, and choose the start of its search."""
    start_time = time.perf_counter()
    subject, request = subjects[index], run.request
    settings = choose_face_settings(subject.face, request)
    run.report_progress("prepare", face=index + 1, faces=len(subjects))
    canvas = subject.canvas.to(run.device)
    inverted = models.prior.invert(canvas, settings.strength, request.keep_expression, settings.locks)
    look, hidden = leave_out_hidden(_choose_look(settings, inverted, canvas, models), canvas)
    if hidden:
        warnings.append(Message("products-covered", number=subject.face.number, products=list(hidden)))
    inverted = inverted.with_look(look)
    embeddings = verify.embed_face(subject.original_canvas, models.recognisers, run.device)
    same_person = select_same_person(embeddings, references, models.recognisers)
    if request.references and not same_person:
        warnings.append(Message("references-of-others", face=subject.face.number))
    face_search = _make_search(
        run, models, subject, settings, average_embeddings(embeddings, same_person), canvas, inverted
    )
    face_search = replace(face_search, on_step=partial(_report_step, run, index, group, len(subjects)))
    return _Prepared(subject, face_search, same_person, time.perf_counter() - start_time)


def _choose_look(settings: FaceSettings, inverted: InvertedFace, canvas: CanvasFace, models: Models) -> Tensor:
    """The (9, 6) look that the search starts from."""
    if settings.literal:
        return make_literal_look(settings.prompt, settings.seed)
    return choose_starting_look(settings.prompt, inverted.preview, canvas.mesh, models.guidance, settings.seed)


def _make_search(
    run: Run,
    models: Models,
    subject: Subject,
    settings: FaceSettings,
    embeddings: verify.Embeddings,
    canvas: CanvasFace,
    inverted: InvertedFace,
) -> FaceSearch:
    guidance, number = models.guidance, subject.face.number
    search_settings = shorten_search(run.settings, settings.earlier)

    def preview(step: int, pixels: Tensor) -> None:
        if run.preview is not None:
            run.preview(Preview(number, step, search_settings.steps, tensor_as_bytes(pixels)))

    # A face can't move towards a decoy and away from earlier photos that moved towards the same one.
    avoided = stack_protected(settings.earlier, run.device) if run.request.mode == "dodge" else {}
    preview(0, canvas.pixels)
    # For a prompt without any product, text guidance would only shift the light towards the look of makeup.
    text = (guidance, guidance.direction(settings.prompt)) if paints_anything(settings.prompt) else None
    return FaceSearch(
        inverted,
        canvas,
        interpolate_start(settings.earlier, inverted.start()),
        Target(embeddings, nearest_decoy(embeddings, models.decoys), avoided),
        text,
        search_settings,
        settings.seed,
        on_evaluation=preview,
        find_landmarks=lambda pixels, mesh: refine_landmarks(pixels, mesh, run.store),
    )


def _report_step(run: Run, index: int, group: range, faces: int, step: int, steps: int) -> None:
    """Report a step; faces that are searched at once are reported as if they were searched one after the other."""
    faces_ahead, face_step = divmod(step * len(group) + index - group.start, steps)
    run.report_progress("search", face=group.start + faces_ahead + 1, faces=faces, step=face_step, steps=steps)


def _make_face_change(prepared: _Prepared, result: SearchResult, seconds: float) -> FaceChange:
    change = prepared.face_search.inverted.change(result.code)
    return FaceChange(
        prepared.subject, change, result.code, result.steps, prepared.seconds + seconds, prepared.references
    )
