"""A finished search of a photo: the changes that it found, which can be applied by any amount."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from c2p_core import verify
from c2p_core.api import Computation, Face, FaceReport, ProtectRequest, ProtectResult, Trace
from c2p_core.compute_plan import Attempt, ComputePlan, run_first_that_fits
from c2p_core.device import CPU
from c2p_core.errors import Message
from c2p_core.face_settings import choose_face_settings, find_look
from c2p_core.faces import find_again, refine_face
from c2p_core.faces.align import Alignment, align
from c2p_core.faces.amounts import Amounts, scale_change
from c2p_core.faces.canvas import CanvasFace, Change
from c2p_core.faces.layers import build_layers
from c2p_core.faces.paste import paste
from c2p_core.faces.view import View
from c2p_core.guidance.looks import paints_anything
from c2p_core.models.loaded import WarmModels, get_recognisers
from c2p_core.models.store import ModelStore
from c2p_core.photo import Layer, Photo
from c2p_core.prior_registry import REGISTRY
from c2p_core.priors.prior import Code
from c2p_core.recognition import Recogniser
from c2p_core.recognition.other_photos import find_stronger, read_other_photos
from c2p_core.subjects import Subject

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FaceChange:
    """The change that a search found for one face.

    Attributes:
        subject: the face.
        change: to apply to it.
        code: the latent code of the change.
        steps: of the search.
        seconds: that the search took.
        references: other photos of the person, see ``references``.
    """

    subject: Subject
    change: Change
    code: Code
    steps: int
    seconds: float
    references: tuple[verify.Embeddings, ...] = ()

    @property
    def alignment(self) -> Alignment:
        """Of the face in the photo to protect."""
        return align(self.subject.face.mesh, self.subject.face.eye_distance)


@dataclass(frozen=True)
class Direction:
    """A finished search.

    Attributes:
        request: of the search.
        faces: all faces of the photo, in number order.
        changes: one per protected face.
        recognisers: those that measure the result.
        held_out: names of the recognisers that took no part in the search.
        device: of the recognisers.
        store: of the models' files.
        warnings: messages for the user.
        computation: models and device of the search.
    """

    request: ProtectRequest
    faces: tuple[Face, ...]
    changes: tuple[FaceChange, ...]
    recognisers: tuple[Recogniser, ...]
    held_out: tuple[str, ...]
    device: torch.device
    store: ModelStore
    warnings: tuple[Message, ...]
    computation: Computation | None = None


@dataclass(frozen=True)
class PastedPhoto:
    """A photo with the changes of a finished search.

    Attributes:
        photo: the protected photo.
        layers: the same as one layer per makeup product; empty where they were not requested.
        amounts: how much of the changes was applied.
    """

    photo: Photo
    layers: tuple[Layer, ...]
    amounts: Amounts


def apply_direction(
    direction: Direction,
    amounts: Amounts,
    *,
    layers: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ProtectResult:
    """Paste the changes of a finished search into its photo, and measure what recognisers say.

    Args:
        direction: see above.
        amounts: how much of it is applied.
        layers: whether to return the result also as one layer per makeup product.
        on_stage: called with the stage, "paste" or "verify", before it begins; may raise to end it.
    """
    on_stage("paste")
    pasted = paste_changes(direction, amounts, layers=layers)
    on_stage("verify")
    return verify_faces(direction, pasted)


def paste_changes(direction: Direction, amounts: Amounts, *, layers: bool = False) -> PastedPhoto:
    """Paste the changes of a finished search into its photo; for the arguments see ``apply_direction``."""
    photo = direction.request.photo
    changes = [(face_change.alignment, scale_change(face_change.change, amounts)) for face_change in direction.changes]
    pasted = paste(photo, changes)
    built_layers = build_layers(photo, changes) if layers else []
    numbered = (replace(layer, face=direction.changes[layer.face].subject.face.number) for layer in built_layers)
    return PastedPhoto(pasted, tuple(numbered), amounts)


def verify_faces(direction: Direction, pasted: PastedPhoto) -> ProtectResult:
    """Measure what recognisers say of a photo with the changes of a finished search, and report on all its faces."""
    request = direction.request
    view = View(pasted.photo)
    reports: dict[int, FaceReport] = {}
    traces: list[Trace] = []
    for face_change in direction.changes:
        canvas = _crop_protected(view, face_change, direction.store)
        reports[face_change.subject.face.number] = _report_on(face_change, canvas, direction)
        if find_look(face_change.subject.face, request) is not None:
            traces.append(_make_trace(face_change, canvas, direction))
    all_measured = all(recogniser.measured_by == "project" for recogniser in direction.recognisers)
    return ProtectResult(
        pasted.photo,
        tuple(reports.get(face.number) or _report_on_unchanged(face) for face in direction.faces),
        direction.warnings,
        pasted.layers,
        find_stronger(read_other_photos(direction.store.obtain("other-photos")), request, all_measured),
        tuple(traces),
        is_generated(direction, pasted.amounts),
        direction.computation,
    )


def _crop_protected(view: View, face_change: FaceChange, store: ModelStore) -> CanvasFace:
    """Crop a face of the protected photo as a recogniser would."""
    subject = face_change.subject
    # Where detection fails, a recogniser could still crop the face at its known position.
    detected = find_again(view, subject.original_face, store) or refine_face(view, subject.face, store)
    return verify.crop_face(view, detected)


def _report_on(face_change: FaceChange, protected: CanvasFace, direction: Direction) -> FaceReport:
    """Measure a protected face; the report on it."""
    subject = face_change.subject
    similarities = verify.measure_similarities(
        subject.original_canvas,
        protected,
        direction.recognisers,
        direction.held_out,
        direction.device,
        face_change.references,
    )
    face = subject.face
    return FaceReport(
        face.number, face.box, face.eye_distance, face.skipped, similarities, face_change.steps, face_change.seconds
    )


def _report_on_unchanged(face: Face) -> FaceReport:
    """The report on a face that the run left as it is, with the reason."""
    return FaceReport(face.number, face.box, face.eye_distance, face.skipped or Message("face-not-chosen"))


def work_where_it_fits(direction: Direction, warm: WarmModels, work: Callable[[Direction], _Result]) -> _Result:
    """Measure or apply a finished search; if the graphics card is full, with the recognisers on the processor.

    Args:
        direction: see above.
        warm: keeps the processor's recognisers for the next time.
        work: does all of the work with the search, or the same search moved to the processor.
    """
    attempts = [Attempt(ComputePlan(direction.device), None)]
    if direction.device != CPU:
        attempts.append(Attempt(ComputePlan(CPU), Message("measured-on-processor")))
    return run_first_that_fits(
        lambda: None, attempts, lambda attempt: work(_move_to_processor(direction, warm, attempt.notice))
    )


def _move_to_processor(direction: Direction, warm: WarmModels, notice: Message | None) -> Direction:
    """The same search with its recognisers on the processor and a warning; unchanged if ``notice`` is None."""
    if notice is None:
        return direction
    # By name: "auto" may stand for others by now.
    names = tuple(recogniser.requested_name for recogniser in direction.recognisers)
    recognisers, _ = get_recognisers(names, direction.store, CPU, warm)
    changes = tuple(
        replace(
            face_change,
            references=tuple(
                {name: vector.cpu() for name, vector in reference.items()} for reference in face_change.references
            ),
        )
        for face_change in direction.changes
    )
    warnings = (*direction.warnings, notice)
    return replace(direction, recognisers=recognisers, device=CPU, changes=changes, warnings=warnings)


def is_generated(direction: Direction, amounts: Amounts) -> bool:
    """Whether anything was painted, or the prior generates all of a change."""
    request, (_, _, makeup) = direction.request, amounts.factors()
    if REGISTRY[request.prior].generates:
        return True
    chosen = (choose_face_settings(face_change.subject.face, request) for face_change in direction.changes)
    return makeup > 0 and any(paints_anything(settings.prompt) for settings in chosen)


def _make_trace(face_change: FaceChange, after: CanvasFace, direction: Direction) -> Trace:
    """The trace of a face for later photos of the person; ``after`` is the protected face."""
    protected = verify.embed_face(after, direction.recognisers, direction.device)
    return Trace(
        face_change.subject.face.number,
        {name: part.cpu().numpy() for name, part in face_change.code.items()},
        {name: vector.cpu().numpy() for name, vector in protected.items()},
    )
