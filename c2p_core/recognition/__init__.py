"""Face recognisers as differentiable functions from a picture and a face mesh to a unit vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from c2p_core.errors import BadRequest, ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights
from c2p_core.recognition import dlib_resnet, faceres, mobileface, mobilefacenet, mobilenet
from c2p_core.recognition.alignment import Template, crop_chips
from c2p_core.recognition.dlib_resnet import DlibResNet
from c2p_core.recognition.faceres import Faceres
from c2p_core.recognition.mobileface import MobileFace
from c2p_core.recognition.mobilefacenet import MobileFaceNet
from c2p_core.recognition.mobilenet import MobileNet
from c2p_core.recognition.other_photos import OtherPhotos, read_other_photos
from c2p_core.recognition.thresholds import Thresholds, read_thresholds

Embed = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) sRGB 0..1 and (B, 468, 2) mesh points in its pixels to (B, D) unit vectors; gradients reach both."""


@dataclass(frozen=True)
class Recogniser:
    """One face recogniser.

    Attributes:
        name: as in the manifest.
        family: recognisers of one family are held out together.
        licence: SPDX expression of its weights.
        far1: cosine similarity above which it says "same person" at a false accept rate of 1 %.
        far01: the same at 0.1 %.
        impostor_std: standard deviation of its similarity over impostor pairs; recognisers differ in it by up to
            four times, so that margins are best given in this unit.
        embed: see ``Embed``.
        other_photos_up_to: see `c2p_core.api.Similarity`.
    """

    name: str
    family: str
    licence: str
    far1: float
    far01: float
    impostor_std: float
    embed: Embed
    other_photos_up_to: float | None = None


def embed_with(network: nn.Module, template: Template) -> Embed:
    """Alignment, network and normalisation as one function."""

    def embed(images: Tensor, mesh: Tensor) -> Tensor:
        return F.normalize(network(crop_chips(images, mesh, template)))

    return embed


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Template]] = {
    "dlib-resnet": (DlibResNet, dlib_resnet.TEMPLATE),
    "faceres-deep": (Faceres, faceres.TEMPLATE),
    "faceres": (Faceres, faceres.TEMPLATE),
    "mobileface": (MobileFace, mobileface.TEMPLATE),
    "mobilefacenet": (MobileFaceNet, mobilefacenet.TEMPLATE),
    "mobilenet": (MobileNet, mobilenet.TEMPLATE),
}
"""What makes each recogniser's network, still without weights, and how it wants faces cut out."""

RECOGNISERS = tuple(NETWORKS)
"""Names of all recognisers."""


def load_embed(name: str, store: ModelStore, device: torch.device) -> Embed:
    """One recogniser's function, frozen and in eval mode.

    Raises:
        BadRequest: there is no recogniser of that name.
        ModelUnavailable: its files can't be had or are damaged.
    """
    if name not in NETWORKS:
        raise BadRequest(f"There is no recogniser {name!r}; the recognisers are {', '.join(RECOGNISERS)}.")
    make, template = NETWORKS[name]
    return embed_with(load_weights(make(), store.path(name)).to(device), template)


def load_recognisers(
    names: Literal["auto"] | Sequence[str],
    store: ModelStore,
    device: torch.device,
    warnings: list[str] | None = None,
) -> tuple[Recogniser, ...]:
    """Loads recognisers, fetching them where that is needed and allowed.

    Args:
        names: "auto" for all that can be had, or names, of which every one has to be there.
        store: gives their files.
        device: where they run.
        warnings: gets a sentence for each that "auto" had to leave out.

    Raises:
        BadRequest: an unknown name.
        ModelUnavailable: a named recogniser, what was measured, or every recogniser of "auto" can't be had.
    """
    thresholds = read_thresholds(store.path("thresholds"))
    others = read_other_photos(store.path("other-photos"))
    if names != "auto":
        return tuple(_load(name, store, device, thresholds, others) for name in dict.fromkeys(names))
    loaded: list[Recogniser] = []
    missing: list[str] = []
    for name in RECOGNISERS:
        try:
            loaded.append(_load(name, store, device, thresholds, others))
        except ModelUnavailable as error:
            missing.append(f"Without the recogniser {name}: {error}")
    if not loaded:
        raise ModelUnavailable(f"No face recogniser can be had. {missing[0]}")
    if warnings is not None:
        warnings += missing
    return tuple(loaded)


def _load(
    name: str, store: ModelStore, device: torch.device, thresholds: dict[str, Thresholds], others: OtherPhotos
) -> Recogniser:
    embed = load_embed(name, store, device)
    if name not in thresholds:
        raise ModelUnavailable(f"There are no thresholds for the recogniser {name}; install the program again.")
    entry, own = store.entry(name), thresholds[name]
    up_to = others.up_to.get(name)
    return Recogniser(name, entry.family, entry.licence, own.far1, own.far01, own.impostor_std, embed, up_to)
