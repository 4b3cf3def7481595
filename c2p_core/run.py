"""One run of a request: its settings and callbacks, and the first plan that fits into the memory of its device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from c2p_core.api import CancelToken, PreviewCallback, Progress, ProgressCallback, ProtectRequest
from c2p_core.compute_plan import Attempt, ComputePlan, plan_attempts, run_first_that_fits
from c2p_core.device import begin_measuring, pick_device
from c2p_core.errors import Message
from c2p_core.guidance.languages import to_english
from c2p_core.io.colour_profiles import profile_warnings
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.profiles import choose_profile
from c2p_core.search import SearchSettings
from c2p_core.validate import check_request

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Run:
    """A request in progress.

    Attributes:
        request: validated, with an English prompt and the models of its profile.
        profile_reason: message for the user on why this profile was chosen.
        plan: how the device is used.
        settings: of the search.
        progress, preview, cancel, store, warm: see ``pipeline.protect``.
        warnings: messages for the user from before the start.
    """

    request: ProtectRequest
    profile_reason: Message
    plan: ComputePlan
    settings: SearchSettings
    progress: ProgressCallback
    preview: PreviewCallback | None
    cancel: CancelToken
    store: ModelStore
    warm: WarmModels
    warnings: tuple[Message, ...]

    @property
    def device(self) -> torch.device:
        return self.plan.device

    def report_progress(self, stage: str, face: int = 0, faces: int = 0, step: int = 0, steps: int = 0) -> None:
        """Report progress; raises ``Cancelled`` if the run was cancelled."""
        self.cancel.raise_if_cancelled()
        self.progress(Progress(stage, face, faces, step, steps))


def begin_run(
    request: ProtectRequest,
    progress: ProgressCallback | None,
    preview: PreviewCallback | None,
    cancel: CancelToken | None,
    store: ModelStore | None,
    warm: WarmModels | None,
) -> Run:
    """Check a request and choose its models and device; see ``pipeline.protect``.

    Raises:
        BadRequest: an option is out of range or unknown.
        ModelUnavailable: the request names a profile whose models are missing.
    """
    warnings = profile_warnings(request.photo)
    device, store = pick_device(request.device, warnings), store or ModelStore()
    profile = choose_profile(request, store, device)
    check_request(profile.request)
    looks = (look if look.prompt is None else replace(look, prompt=to_english(look.prompt)) for look in request.looks)
    request = replace(profile.request, prompt=to_english(request.prompt), looks=tuple(looks))
    steps = SearchSettings().steps if request.steps is None else request.steps
    return Run(
        request,
        profile.why,
        ComputePlan(device),
        SearchSettings(steps=steps),
        progress or (lambda _: None),
        preview,
        cancel or CancelToken(),
        store,
        warm or WarmModels(),
        tuple(warnings),
    )


def run_with_fitting_plan(run: Run, faces: int, work: Callable[[Run], _Result]) -> _Result:
    """Work with the first plan that does not run out of GPU memory.

    Args:
        run: as it was begun.
        faces: number of faces to protect.
        work: does all of the work; called again from the start with the next plan.
    """

    def run_attempt(attempt: Attempt) -> _Result:
        begin_measuring(attempt.plan.device)
        settings = replace(run.settings, one_recogniser_per_step=attempt.plan.lean)
        warnings = run.warnings if attempt.notice is None else (*run.warnings, attempt.notice)
        return work(replace(run, plan=attempt.plan, settings=settings, warnings=warnings))

    return run_first_that_fits(run.warm.release, plan_attempts(run.device, faces), run_attempt)
