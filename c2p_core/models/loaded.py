"""The models of a run, and those that stay loaded between runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from c2p_core.api import DEFAULT_HOLD_OUT, Device, ProtectRequest
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest
from c2p_core.faces import find_faces_in
from c2p_core.faces.canonical import load_mean_face
from c2p_core.guidance.clip import TextGuidance
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.priors.checkpoint_files import find_checkpoints
from c2p_core.priors.complexion import load_basis
from c2p_core.priors.inversion import OnStep
from c2p_core.priors.inversion_cache import InversionCache, Inversions
from c2p_core.priors.makeup import MakeupPrior
from c2p_core.priors.prior import Prior
from c2p_core.priors.wplus import WPlusPrior, load_networks
from c2p_core.recognition import Recogniser, load_recognisers
from c2p_core.recognition.decoys import load_decoys

_Loaded = TypeVar("_Loaded")


class WarmModels:
    """Models that stay loaded between runs with one store; for one thread at a time.

    Attributes:
        inversions: where the prior stylegan2 keeps faces.
    """

    def __init__(self, inversions: Inversions | None = None) -> None:
        """``inversions``: on the user's disk when None."""
        self.inversions = inversions or InversionCache()
        self._kept: dict[tuple[object, ...], tuple[object, Any]] = {}

    def get(self, key: tuple[object, ...], load: Callable[[], _Loaded], source: object = None) -> _Loaded:
        """What was loaded for ``key`` before from the same ``source``, else what ``load`` gives."""
        if key not in self._kept or self._kept[key][0] != source:
            # The old one first, or both would need their room.
            self.forget(key)
            self._kept[key] = source, load()
        kept: _Loaded = self._kept[key][1]
        return kept

    def forget(self, key: tuple[object, ...]) -> None:
        """Loads it anew the next time."""
        self._kept.pop(key, None)

    def release(self) -> None:
        """Forgets all of them; models that have come or gone since are noticed by the next run."""
        self._kept.clear()


@dataclass(frozen=True)
class Models:
    """What one run computes with.

    Attributes:
        recognisers: all that are there.
        optimised: those of them that the search fools; the others are held out.
        guidance: the text model.
        prior: what draws the change.
        decoys: synthetic identities, by recogniser name; empty when dodging.
    """

    recognisers: tuple[Recogniser, ...]
    optimised: tuple[Recogniser, ...]
    guidance: TextGuidance
    prior: Prior
    decoys: tuple[dict[str, Tensor], ...]

    @property
    def held_out(self) -> tuple[str, ...]:
        return tuple(r.name for r in self.recognisers if r not in self.optimised)


def load_models(
    request: ProtectRequest,
    store: ModelStore,
    device: torch.device,
    warnings: list[str],
    warm: WarmModels,
    on_inversion_step: OnStep = lambda step, steps: None,
) -> Models:
    """Loads what a request needs and is not warm yet.

    Args:
        request: what is asked for.
        store: where models are.
        device: where they compute.
        warnings: gets sentences for the user.
        warm: keeps the models.
        on_inversion_step: called before each step of an inversion; may raise to end it.

    Raises:
        BadRequest: there is no recogniser of a name.
        ModelUnavailable: a model is missing and could not be fetched.
    """
    recognisers, missing = get_recognisers(request.recognisers, store, device, warm)
    warnings += missing
    optimised = split_hold_out(recognisers, request, warnings)
    prior: Prior
    if request.prior == "stylegan2":
        mean_face = load_mean_face(store.path("complexion"))
        own = [(path, path.stat().st_mtime_ns) for path in find_checkpoints(store.root) or ()]
        networks = warm.get(("stylegan2", device), lambda: load_networks(store, device), own)
        noise = request.free_noise
        prior = WPlusPrior(
            networks, mean_face, device, warm.inversions, warnings.append, on_inversion_step, free_noise=noise
        )
    else:
        prior = warm.get(("prior", device), lambda: MakeupPrior(load_basis(store.path("complexion")), device))
    decoys = load_decoys(store.path("decoys"), optimised, device) if request.mode == "decoy" else ()
    guidance = warm.get(("guidance", device), lambda: TextGuidance(store, device))
    return Models(recognisers, optimised, guidance, prior, decoys)


def get_recognisers(
    names: Literal["auto"] | tuple[str, ...], store: ModelStore, device: torch.device, warm: WarmModels
) -> tuple[tuple[Recogniser, ...], list[str]]:
    """The recognisers, and a sentence for each that is missing."""

    def load() -> tuple[tuple[Recogniser, ...], list[str]]:
        missing: list[str] = []
        return load_recognisers(names, store, device, missing), missing

    key = ("recognisers", names, device)
    found = warm.get(key, load)
    if found[1]:
        # What is missing may have come by the next run.
        warm.forget(key)
    return found


def split_hold_out(
    recognisers: tuple[Recogniser, ...], request: ProtectRequest, warnings: list[str]
) -> tuple[Recogniser, ...]:
    """The recognisers that the search fools; the family that is held out is not among them."""
    hold_out = request.hold_out
    families = {r.family for r in recognisers}
    names = families | {r.name for r in recognisers}
    if hold_out != "auto" and hold_out not in names:
        raise BadRequest(f"There is no recogniser {hold_out!r} to hold out; there are {', '.join(sorted(names))}.")
    if len(families) == 1:
        warnings.append(
            "Only one family of recognisers is here, so that none is left for an honest figure; "
            "install the program again."
            if request.recognisers == "auto"
            else "All the recognisers that were named are of one family, so that none can be held out for an honest "
            "figure; name one of another family too."
        )
        return recognisers
    if hold_out == "auto":
        hold_out = DEFAULT_HOLD_OUT if DEFAULT_HOLD_OUT in families else recognisers[-1].family
    held_family = next(r.family for r in recognisers if hold_out in (r.family, r.name))
    return tuple(r for r in recognisers if r.family != held_family)


def warm_up(store: ModelStore, device: Device, warm: WarmModels) -> None:
    """Loads what a usual run needs, so that the first one need not wait for it.

    Raises:
        ModelUnavailable: a model is missing and could not be fetched.
    """
    nothing = Photo(np.zeros((1, 1, 3), np.uint8))
    load_models(ProtectRequest(nothing), store, pick_device(device), [], warm)
    find_faces_in(torch.zeros(3, 64, 64), store)
