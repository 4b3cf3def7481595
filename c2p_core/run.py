"""One run of a request: its settings, device and callbacks, on the first device that has enough memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from c2p_core.api import CancelToken, PreviewCallback, Progress, ProgressCallback, ProtectRequest
from c2p_core.device import CPU, pick_device, run_first_that_fits
from c2p_core.errors import Message
from c2p_core.guidance.languages import to_english
from c2p_core.io.colour_profiles import profile_warnings
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.search import SearchSettings
from c2p_core.validate import check_request

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Run:
    """One attempt at a request, on one device; ``warnings`` are those that are known before it begins."""

    request: ProtectRequest
    settings: SearchSettings
    device: torch.device
    progress: ProgressCallback
    preview: PreviewCallback | None
    cancel: CancelToken
    store: ModelStore
    warm: WarmModels
    warnings: tuple[Message, ...]

    def tell(self, stage: str, face: int = 0, faces: int = 0, step: int = 0, steps: int = 0) -> None:
        """Report progress; raises ``Cancelled`` if the run was cancelled."""
        self.cancel.raise_if_cancelled()
        self.progress(Progress(stage, face, faces, step, steps))


def run_on_fitting_device(
    request: ProtectRequest,
    attempt: Callable[[Run], _Result],
    progress: ProgressCallback | None,
    preview: PreviewCallback | None,
    cancel: CancelToken | None,
    store: ModelStore | None,
    warm: WarmModels | None,
) -> _Result:
    """Check a request, and call ``attempt`` on the first device that has enough memory; see ``pipeline.protect``.

    Raises:
        BadRequest: an option is out of range or unknown.
    """
    check_request(request)
    looks = (look if look.prompt is None else replace(look, prompt=to_english(look.prompt)) for look in request.looks)
    request = replace(request, prompt=to_english(request.prompt), looks=tuple(looks))
    steps = SearchSettings().steps if request.steps is None else request.steps
    settings, kept = SearchSettings(steps=steps), warm or WarmModels()
    warnings = profile_warnings(request.photo)
    device = pick_device(request.device, warnings)
    tell, token = progress or (lambda _: None), cancel or CancelToken()

    def start(device: torch.device, settings: SearchSettings, *messages: Message) -> _Result:
        run = Run(request, settings, device, tell, preview, token, store or ModelStore(), kept, (*warnings, *messages))
        return attempt(run)

    return run_first_that_fits(
        kept.release,
        lambda: start(device, settings),
        lambda: start(device, replace(settings, one_recogniser_per_step=True), Message("search-in-turns")),
        lambda: start(CPU, settings, Message("photo-on-processor")),
    )
