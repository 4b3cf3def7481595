"""Loads the models of a run, and keeps them loaded between runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from c2p_core.api import DEFAULT_HOLD_OUT, Device, ProtectRequest
from c2p_core.compute_plan import plan_attempts
from c2p_core.device import pick_device
from c2p_core.errors import BadRequest, Message
from c2p_core.faces import find_faces_in
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.clip_name import parse_clip
from c2p_core.models.licences import list_generator_warnings, list_licence_warnings, list_used_generators
from c2p_core.models.store import ModelStore
from c2p_core.models.user_recognisers import add_names, is_user_recogniser
from c2p_core.prior_registry import REGISTRY
from c2p_core.priors.inversion import OnStep
from c2p_core.priors.inversion_cache import InversionCache, Inversions
from c2p_core.priors.prior import Prior, Resources
from c2p_core.profiles import choose_default, find_generator, list_full_recognisers
from c2p_core.recognition import Recogniser, list_judge_warnings, list_unmeasured_warnings, load_recognisers
from c2p_core.recognition.decoys import list_decoy_warnings, load_decoys

_Loaded = TypeVar("_Loaded")


class WarmModels:
    """Cache of models that stay loaded between runs with one store; not thread-safe.

    Attributes:
        inversions: cache of inverted faces of the prior stylegan2.
    """

    def __init__(self, inversions: Inversions | None = None) -> None:
        """``inversions``: a cache on the user's disk when None."""
        self.inversions = inversions or InversionCache()
        self._models: dict[tuple[object, ...], tuple[object, Any]] = {}

    def get(self, key: tuple[object, ...], load: Callable[[], _Loaded], source: object = None) -> _Loaded:
        """Return the model cached for ``key``, or load it if there is none or it came from another ``source``."""
        if key not in self._models or self._models[key][0] != source:
            # Drop the old one first, or both would be in memory at once.
            self.forget(key)
            self._models[key] = source, load()
        model: _Loaded = self._models[key][1]
        return model

    def forget(self, key: tuple[object, ...]) -> None:
        """Drop a model, so that it is loaded again when next needed."""
        self._models.pop(key, None)

    def release(self) -> None:
        """Drop all models; the next run then also notices added and removed model files."""
        self._models.clear()


@dataclass(frozen=True)
class Models:
    """The models of one run.

    Attributes:
        recognisers: all available ones.
        optimised: those that the search optimises against; the others are held out.
        guidance: the text model.
        prior: the generative model of the change.
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
    warnings: list[Message],
    warm: WarmModels,
    on_inversion_step: OnStep = lambda step, steps: None,
    recorded: bool = False,
) -> Models:
    """Load the models that a request needs and that are not loaded yet.

    Args:
        request: the request.
        store: has the model files.
        device: to compute on.
        warnings: messages for the user are appended here; the store's notices are left for the caller to take once its
            work has succeeded.
        warm: cache of loaded models.
        on_inversion_step: called before each step of an inversion; may raise to end it.
        recorded: whether the work of networks is recorded and replayed, see ``accelerated.accelerate``.

    Raises:
        BadRequest: a recogniser's name is unknown.
        ModelUnavailable: a model is missing and could not be fetched.
    """
    full = request.profile == "full"
    generator = find_generator(store) if full else None
    recognisers, missing = get_recognisers(name_recognisers(request), store, device, warm, full, recorded)
    warnings += missing + list_unmeasured_warnings(recognisers) + list_judge_warnings(recognisers)
    optimised = split_hold_out(recognisers, request, warnings)
    prior = load_prior(
        request.prior,
        Resources(
            store,
            device,
            warm.get,
            warm.inversions,
            request.free_noise,
            warnings.append,
            on_inversion_step,
            generator,
            recorded,
        ),
    )
    decoys: tuple[dict[str, Tensor], ...] = ()
    if request.mode == "decoy":
        decoys = load_decoys(store.obtain("decoys"), optimised, device)
        warnings += list_decoy_warnings(optimised, decoys)
    guidance = warm.get(
        ("guidance", device),
        lambda: TextGuidance(store, device, *parse_clip(request.clip), recorded=recorded),
        source=(request.clip, recorded),
    )
    used = [*(r.name for r in recognisers), *store.list_clip_models(request.clip)]
    if REGISTRY[request.prior].loads_generator:
        warnings += list_generator_warnings(store)
        used += list_used_generators(store, generator)
    warnings += list_licence_warnings(store, used)
    return Models(recognisers, optimised, guidance, prior, decoys)


def load_prior(name: str, resources: Resources) -> Prior:
    """Load a prior by its name in ``prior_registry``.

    Raises:
        ModelUnavailable: one of its models is missing and could not be fetched.
    """
    prior: Prior = importlib.import_module(REGISTRY[name].module).load(resources)
    return prior


def name_recognisers(request: ProtectRequest) -> Literal["auto"] | tuple[str, ...]:
    """The recognisers of a request, plus the one to hold out if it is the user's own."""
    if not is_user_recogniser(request.hold_out):
        return request.recognisers
    return add_names(request.recognisers, request.hold_out)


def get_recognisers(
    names: Literal["auto"] | tuple[str, ...],
    store: ModelStore,
    device: torch.device,
    warm: WarmModels,
    full: bool = False,
    recorded: bool = False,
) -> tuple[tuple[Recogniser, ...], list[Message]]:
    """Load recognisers, or take them from the cache; also returns a message for each one that is missing.

    Args:
        names: "auto" for all that are available, or names.
        store, device, warm: as in ``load_models``.
        full: whether "auto" includes the full profile's.
        recorded: see ``load_models``.
    """
    full_profile = list_full_recognisers(store) if full and "auto" in (names, *names) else ()

    def load() -> tuple[tuple[Recogniser, ...], list[Message]]:
        missing: list[Message] = []
        return load_recognisers(names, store, device, missing, full_profile, recorded), missing

    key = ("recognisers", names, full_profile, device, recorded)
    loaded = warm.get(key, load)
    if loaded[1]:
        # The missing ones may be available in the next run.
        warm.forget(key)
    return loaded


def split_hold_out(
    recognisers: tuple[Recogniser, ...], request: ProtectRequest, warnings: list[Message]
) -> tuple[Recogniser, ...]:
    """Choose the recognisers to optimise against: all except the held-out family and those that only judge.

    Raises:
        BadRequest: no recogniser or family has the name to hold out, or none is left to optimise against.
    """
    hold_out = request.hold_out
    searchable = tuple(r for r in recognisers if r.judges_only is None)
    families = {r.family for r in searchable}
    names = {name for r in recognisers for name in (r.family, r.name)}
    if hold_out != "auto" and hold_out not in names | {r.requested_name for r in recognisers}:
        raise BadRequest("hold-out-unknown", name=hold_out, known=sorted(names))
    if not searchable:
        raise BadRequest("nothing-to-search-with", names=[r.name for r in recognisers])
    if len(families) == 1:
        if len(searchable) == len(recognisers):
            chosen_by_user = request.recognisers != "auto"
            warnings.append(Message("nothing-left-to-hold-out") if chosen_by_user else Message("nothing-held-out"))
        return searchable
    if hold_out == "auto":
        hold_out = DEFAULT_HOLD_OUT if DEFAULT_HOLD_OUT in families else searchable[-1].family
    held_family = next(r.family for r in recognisers if hold_out in (r.family, r.name, r.requested_name))
    return tuple(r for r in searchable if r.family != held_family)


def warm_up(store: ModelStore, device: Device, warm: WarmModels) -> None:
    """Load the models of a run with default settings in advance.

    Raises:
        ModelUnavailable: a model is missing and could not be fetched.
    """
    torch_device = pick_device(device)
    request = choose_default(store, torch_device).request
    # Recorded as in the run's first attempt.
    load_models(request, store, torch_device, [], warm, recorded=plan_attempts(torch_device, 1)[0].plan.recorded)
    find_faces_in(torch.zeros(3, 64, 64), store)
