"""Loads the recognisers that a user names by location (``user_recognisers``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from c2p_core.accelerated import move_network
from c2p_core.errors import Message
from c2p_core.models.files import compute_hash
from c2p_core.models.manifest import Default
from c2p_core.models.user_recognisers import FrbenchName, OnnxName, parse_user_recogniser
from c2p_core.recognition.alignment import Template, five_point_template

_DIGITS = 8  # of a hash, in a name


@dataclass(frozen=True)
class LoadedNetwork:
    """A recogniser's network and its properties.

    Attributes:
        name: its name in results; that of a user's file ends with a hash of the file and its use.
        requested_name: as the user names it.
        family: recognisers of one family are held out together.
        licence: SPDX expression of its weights; empty where it is not known.
        network: maps aligned chips (B, 3, size, size), RGB in 0..1, to descriptors (B, D); frozen and in eval mode.
        template: its alignment.
        key: under which its thresholds are stored; it differs for other files and for other uses of the same file.
        default: its vendor's thresholds.
        judges_only: why it has no gradients; None if it has.
    """

    name: str
    requested_name: str
    family: str
    licence: str
    network: nn.Module
    template: Template
    key: str
    default: Default | None
    judges_only: Message | None = None


def load_user_recogniser(name: str, offline: bool, device: torch.device) -> LoadedNetwork:
    """Load a recogniser by a name for which ``user_recognisers.is_user_recogniser`` holds.

    Args:
        name: of the recogniser.
        offline: never use the network.
        device: the device that it runs on.

    Raises:
        BadRequest: there is no such file or model, or an option is not valid.
        ModelUnavailable: a package is missing, or the file can't be read or is no recogniser.
    """
    parsed = parse_user_recogniser(name)
    return _load_onnx(parsed, device) if isinstance(parsed, OnnxName) else _load_frbench(parsed, offline, device)


def _load_onnx(name: OnnxName, device: torch.device) -> LoadedNetwork:
    from c2p_core.recognition.onnx_recogniser import load_onnx

    format_ = name.input
    network = load_onnx(name.file, format_)
    use = f"size={network.size}&range={format_.low:g}..{format_.high:g}&order={format_.order}&zoom={name.zoom:g}"
    key = f"onnx:{network.sha256}?{use}"
    digits = hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
    return LoadedNetwork(
        f"onnx:{name.family}-{digits}",
        name.requested_name,
        name.family,
        "",
        move_network(network, device),
        five_point_template(network.size, name.zoom),
        key,
        _make_default(name.threshold),
        network.judges_only,
    )


def _load_frbench(name: FrbenchName, offline: bool, device: torch.device) -> LoadedNetwork:
    from c2p_core.recognition.frbench_recogniser import Frbench

    network = Frbench(name.model, offline)
    return LoadedNetwork(
        f"frbench:{name.model}",
        name.requested_name,
        name.family,
        "MIT",
        move_network(network, device, foreign=True),
        network.template,
        f"frbench:{name.model}@{compute_hash(network.weights)}",
        _make_default(name.threshold),
    )


def _make_default(threshold: float | None) -> Default | None:
    return None if threshold is None else Default(threshold, "given by the user")
