"""Face recognisers as differentiable functions from a picture and a face mesh to a unit vector.

Each is one module, in this package or any installed one, and one entry of a manifest (``models.manifest``) that names
the module. The module defines two names:

- ``NETWORK``: makes an ``nn.Module`` that maps aligned chips (B, 3, size, size), RGB in 0..1, to descriptors (B, D) of
  any length. Its weights are read from the entry's file (``models.weights``); without a file it must load its own. Or
  ``LOAD``, which makes such a module of the path of the file, for files in a form of their own. If the module has no
  gradients, its attribute ``judges_only`` is a ``Message`` that says why.
- ``TEMPLATE``: the alignment of its input faces (``alignment.Template``).

Users name others by location (``user_recognisers``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.accelerated import Forward, accelerate, move_network
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.manifest import ModelEntry
from c2p_core.models.store import ModelStore
from c2p_core.models.user_recognisers import Names, expand_names, is_user_recogniser
from c2p_core.models.weights import load_weights
from c2p_core.recognition.alignment import Template, crop_chips
from c2p_core.recognition.other_photos import OtherPhotos, read_other_photos
from c2p_core.recognition.thresholds import Limits, choose_limits, read_own_thresholds, read_thresholds
from c2p_core.recognition.user_recogniser_loader import LoadedNetwork, load_user_recogniser

_OURS = f"{__name__}."
Embed = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) sRGB 0..1 and (B, 468, 2) mesh points in its pixels to (B, D) unit vectors; gradients reach both."""


@dataclass(frozen=True)
class Recogniser:
    """One face recogniser.

    Attributes:
        name: as in the manifest; that of a user's file identifies the file and its use.
        family: recognisers of one family are held out together.
        licence: SPDX expression of its weights.
        far1: cosine similarity above which two faces match at a false accept rate of 1 %.
        far01: the same at 0.1 %.
        impostor_std: standard deviation of its similarity over impostor pairs, the unit of margins, because recognisers
            differ in it by up to four times.
        embed: see ``Embed``.
        other_photos_up_to: see `c2p_core.api.Similarity`.
        measured_by: source of the thresholds: this project, the user, or the vendor's default.
        requested_name: as the user names it.
        judges_only: why it has no gradients and can take no part in a search; None if it can.
    """

    name: str
    family: str
    licence: str
    far1: float
    far01: float
    impostor_std: float
    embed: Embed
    other_photos_up_to: float | None = None
    measured_by: Literal["project", "user", "vendor"] = "project"
    requested_name: str = ""
    judges_only: Message | None = None


@dataclass(frozen=True)
class Architecture:
    """What a recogniser's module defines.

    Attributes:
        make: makes its network without weights; None if ``load`` does it all.
        template: its alignment.
        load: makes its network from its file; None if ``make`` and a file of weights do.
    """

    make: Callable[[], nn.Module] | None
    template: Template
    load: Callable[[Path], nn.Module] | None = None


def list_recognisers(store: ModelStore) -> tuple[str, ...]:
    """List the names of the recognisers that "auto" stands for; the user's own come last."""
    return tuple(entry.name for entry in store.entries() if entry.role == "recogniser")


def list_known_recognisers(store: ModelStore) -> tuple[str, ...]:
    """List the names of all available and fetchable recognisers; the user's own come last."""
    return tuple(entry.name for entry in store.catalogue() if entry.role == "recogniser")


def load_architecture(entry: ModelEntry) -> Architecture:
    """Import the module that an entry names.

    Raises:
        ModelUnavailable: the module is not installed or lacks one of the two names.
    """
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, ValueError) as error:
        raise ModelUnavailable(
            "recogniser-module-missing", name=entry.name, module=entry.module, reason=str(error)
        ) from error
    make, load, template = (getattr(module, name, None) for name in ("NETWORK", "LOAD", "TEMPLATE"))
    if not (callable(make) or callable(load)) or not isinstance(template, Template):
        raise ModelUnavailable("recogniser-module-incomplete", name=entry.name, module=entry.module)
    return Architecture(make, template, load)


def embed_with(network: Forward, template: Template) -> Embed:
    """Combine alignment, network and normalisation in one function."""

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        return F.normalize(network(crop_chips(images, mesh, template)))

    return embed


def load_network(name: str, store: ModelStore, device: torch.device) -> LoadedNetwork:
    """Load one recogniser's network, frozen and in eval mode, with its properties.

    Args:
        name: as in a manifest, or one for which ``user_recognisers.is_user_recogniser`` holds.
        store: the store of its files.
        device: the device that it runs on.

    Raises:
        BadRequest: there is no recogniser of that name.
        ModelUnavailable: its module or one of its files is missing or damaged.
    """
    if is_user_recogniser(name):
        return load_user_recogniser(name, store.offline, device)
    names = list_known_recognisers(store)
    if name not in names:
        raise BadRequest("recogniser-unknown", name=name, known=list(names))
    entry = store.entry(name)
    architecture = load_architecture(entry)
    if architecture.load is not None:
        network = architecture.load(store.obtain(name))
    else:
        assert architecture.make is not None
        network = architecture.make()
        if entry.files:
            network = load_weights(network, store.obtain(name))
    return LoadedNetwork(
        name,
        name,
        entry.family,
        entry.licence,
        move_network(network, device, foreign=not entry.module.startswith(_OURS)),
        architecture.template,
        name,
        entry.default,
        getattr(network, "judges_only", None),
    )


def load_embed(name: str, store: ModelStore, device: torch.device) -> Embed:
    """Load one recogniser's embedding function; arguments and errors are those of ``load_network``."""
    loaded = load_network(name, store, device)
    return embed_with(loaded.network, loaded.template)


def load_recognisers(
    names: Names,
    store: ModelStore,
    device: torch.device,
    warnings: list[Message] | None = None,
    more: Sequence[str] = (),
    recorded: bool = False,
) -> tuple[Recogniser, ...]:
    """Load recognisers, fetching them where needed and allowed.

    Args:
        names: "auto" for the usual ones that are available, or names, all of which must be available; "auto" among
            them stands for the usual ones.
        store: the store of their files.
        device: the device that they run on.
        warnings: receives a message for each recogniser that "auto" leaves out.
        more: further names that "auto" includes.
        recorded: see ``accelerated.accelerate``.

    Raises:
        BadRequest: an unknown name.
        ModelUnavailable: a named recogniser, the file of thresholds, or every recogniser of "auto" is unavailable.
    """
    load = _Loader(store, device, recorded)
    loaded: dict[str, Recogniser] = {}
    missing: list[Message] = []
    for name in expand_names(names, (*list_recognisers(store), *more)):
        try:
            recogniser = load(name)
        except ModelUnavailable as error:
            if names != "auto" and name in names:
                raise
            missing.append(Message("recogniser-left-out", name=name, why=error.message))
        else:
            loaded.setdefault(recogniser.name, recogniser)
    if not loaded:
        raise ModelUnavailable("no-recogniser", why=missing[0].fields["why"])
    if warnings is not None:
        warnings += missing
    return tuple(loaded.values())


def list_unmeasured_warnings(recognisers: Sequence[Recogniser]) -> list[Message]:
    """A message for each recogniser that was not measured by this project."""
    return [
        Message("recogniser-measured-by-user", name=r.name)
        if r.measured_by == "user"
        else Message("recogniser-measured-by-vendor", name=r.name)
        for r in recognisers
        if r.measured_by != "project"
    ]


def list_judge_warnings(recognisers: Sequence[Recogniser]) -> list[Message]:
    """A message for each recogniser that can't take part in a search, with the reason."""
    return [Message("recogniser-judges-only", name=r.name, why=r.judges_only) for r in recognisers if r.judges_only]


class _Loader:
    """Loads recognisers with their measured thresholds."""

    def __init__(self, store: ModelStore, device: torch.device, recorded: bool) -> None:
        self._store, self._device, self._recorded = store, device, recorded
        self._shipped = read_thresholds(store.obtain("thresholds"))
        self._own = read_own_thresholds(store.root)
        self._others: OtherPhotos = read_other_photos(store.obtain("other-photos"))

    def __call__(self, name: str) -> Recogniser:
        loaded = load_network(name, self._store, self._device)
        shipped, user = self._shipped.get(loaded.name), self._own.get(loaded.key)
        if is_user_recogniser(name) and user is None and loaded.default is None:
            raise ModelUnavailable("brought-without-threshold", name=loaded.name, given=loaded.requested_name)
        limits: Limits = choose_limits(loaded.name, loaded.default, shipped, user)
        return Recogniser(
            loaded.name,
            loaded.family,
            loaded.licence,
            limits.far1,
            limits.far01,
            limits.impostor_std,
            embed_with(accelerate(loaded.network, self._device, self._recorded), loaded.template),
            self._others.up_to.get(loaded.name),
            limits.measured_by,
            loaded.requested_name,
            loaded.judges_only,
        )
