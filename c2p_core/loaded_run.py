"""A run whose faces are detected and whose models are loaded: what its inversions and searches share."""

from __future__ import annotations

from dataclasses import dataclass

from c2p_core.api import Computation
from c2p_core.device import measure_peak_memory, name_device
from c2p_core.errors import Message
from c2p_core.face_settings import choose_face_settings
from c2p_core.guidance.looks import list_prompt_warnings
from c2p_core.models.loaded import Models, load_models
from c2p_core.references import embed_references
from c2p_core.run import Run
from c2p_core.subjects import DetectedFaces
from c2p_core.verify import Embeddings


@dataclass(frozen=True)
class LoadedRun:
    """What the steps of a run share.

    Attributes:
        run: request, settings and callbacks; its plan determines how many faces are searched at once.
        models: of the run.
        detected: the faces of the photo.
        references: embeddings of every reference photo of the request.
        warnings: messages for the user; the steps append theirs.
    """

    run: Run
    models: Models
    detected: DetectedFaces
    references: tuple[Embeddings, ...]
    warnings: list[Message]

    def describe_computation(self) -> Computation:
        """The models, the device and its memory that the run has used up to now."""
        run = self.run
        return Computation(
            run.request.profile,
            run.profile_reason,
            run.request.prior,
            run.request.clip,
            run.device.type,
            name_device(run.device),
            run.plan.faces_at_once,
            measure_peak_memory(run.device),
        )


def load_run(run: Run, detected: DetectedFaces) -> LoadedRun:
    """Load the models of a run, and embed its reference photos.

    Raises:
        BadRequest: a recogniser's name is unknown.
        ModelUnavailable: a model is missing and could not be fetched.
        Cancelled: the run was cancelled.
    """
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
    return LoadedRun(run, models, detected, _embed_references(run, models), warnings)


def _embed_references(run: Run, models: Models) -> tuple[Embeddings, ...]:
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
