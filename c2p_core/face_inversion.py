"""Inverts the faces of a photo (stage 1 of the paper), and chooses the start of each face's search."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from c2p_core import verify
from c2p_core.api import Preview
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
from c2p_core.loaded_run import LoadedRun
from c2p_core.models.loaded import Models
from c2p_core.priors.prior import InvertedFace
from c2p_core.recognition.decoys import nearest_decoy
from c2p_core.references import average_embeddings, select_same_person
from c2p_core.run import Run
from c2p_core.search import FaceSearch
from c2p_core.starting_look import choose_starting_look, leave_out_hidden, make_literal_look
from c2p_core.subjects import Subject
from c2p_core.terms import Target


@dataclass(frozen=True)
class PreparedFace:
    """A face that is inverted and ready to be searched.

    Attributes:
        subject: the face.
        face_search: its search.
        references: other photos of the person, see ``references``.
        seconds: that the preparation took.
    """

    subject: Subject
    face_search: FaceSearch
    references: tuple[verify.Embeddings, ...]
    seconds: float


def invert_faces(loaded: LoadedRun) -> Iterator[Sequence[PreparedFace]]:
    """Invert the faces of a photo, and yield them in the groups that are searched at once.

    A group is inverted only when it is next, so that no more than one takes memory.
    """
    subjects, faces_at_once = loaded.detected.subjects, loaded.run.plan.faces_at_once
    for begin in range(0, len(subjects), faces_at_once):
        group = range(begin, min(begin + faces_at_once, len(subjects)))
        yield [_prepare(loaded, index, group) for index in group]


def _prepare(loaded: LoadedRun, index: int, group: range) -> PreparedFace:
    """Invert a face, and choose the start of its search.

    Args:
        loaded: the run.
        index: of the face, among the subjects.
        group: the indices of the faces that are searched at once, this one among them.
    """
    start_time = time.perf_counter()
    run, models, subjects = loaded.run, loaded.models, loaded.detected.subjects
    subject, request = subjects[index], run.request
    settings = choose_face_settings(subject.face, request)
    run.report_progress("prepare", face=index + 1, faces=len(subjects))
    canvas = subject.canvas.to(run.device)
    inverted = models.prior.invert(canvas, settings.strength, request.keep_expression, settings.locks)
    look, hidden = leave_out_hidden(_choose_look(settings, inverted, canvas, models), canvas)
    if hidden:
        loaded.warnings.append(Message("products-covered", number=subject.face.number, products=list(hidden)))
    inverted = inverted.with_look(look)
    embeddings = verify.embed_face(subject.original_canvas, models.recognisers, run.device)
    same_person = select_same_person(embeddings, loaded.references, models.recognisers)
    if request.references and not same_person:
        loaded.warnings.append(Message("references-of-others", face=subject.face.number))
    face_search = _make_search(
        run, models, subject, settings, average_embeddings(embeddings, same_person), canvas, inverted
    )
    face_search = replace(face_search, on_step=partial(_report_step, run, index, group, len(subjects)))
    return PreparedFace(subject, face_search, same_person, time.perf_counter() - start_time)


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
