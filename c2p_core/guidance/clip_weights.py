"""Weights of text models that do not ship: a user's file, a model of the manifest that was fetched, or another tag of
open_clip, fetched into its cache."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.errors import BadRequest, ModelUnavailable, first_line

# The files that open_clip's loader reads without running code from them.
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
# Numbers that OpenAI's archives keep as tensors.
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
# The settings of a tag in open_clip that define the preprocessing of pictures.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        file: of tensors; one of a fetched model, whose hash is known, may be a TorchScript archive.
        preprocessing: of pictures, where it differs from open_clip's default.
        quick_gelu: whether the weights were trained with OpenAI's approximation of the activation GELU.
    """

    file: Path
    preprocessing: dict[str, Any]
    quick_gelu: bool = False


def find_weights(model: str, pretrained: str, offline: bool, fetched: Path | None = None) -> Weights:
    """Find the weights of a model by tag or file; a tag's weights are fetched into open_clip's cache where allowed.

    Args:
        model: its name in open_clip.
        pretrained: a file, or one of open_clip's tags for the model.
        offline: fetch nothing.
        fetched: the file of this tag in the store of models, if it is there.

    Raises:
        BadRequest: open_clip has no such model or tag, or the model needs a tokenizer from elsewhere.
        ModelUnavailable: the weights are not cached and can't be fetched.
    """
    torchvision_ops.define_missing_operators()
    import open_clip

    config = open_clip.get_model_config(model)
    if config is None:
        raise BadRequest("text-model-not-listed", model=model)
    if {"hf_tokenizer_name", "hf_model_name"} & config["text_cfg"].keys():
        raise BadRequest("text-model-with-tokenizer", model=model)
    file = Path(pretrained)
    if file.is_file():
        if file.suffix.lower() not in _ENDINGS:
            raise BadRequest("weights-ending-unknown", path=str(file), known=list(_ENDINGS))
        return Weights(file, {})
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if not tag:
        tags = open_clip.list_pretrained_tags_by_model(model)
        if not tags:
            raise BadRequest("weights-only-from-file", name=pretrained[:200], model=model)
        raise BadRequest("weights-unknown", name=pretrained[:200], model=model, known=tags)
    preprocessing = {name: tag[name] for name in _PREPROCESSING if tag.get(name) is not None}
    quick_gelu = bool(tag.get("quick_gelu", False))
    cached = fetched or next(_find_cached(tag), None)
    if cached is not None:
        return Weights(cached, preprocessing, quick_gelu)
    if offline:
        raise ModelUnavailable("weights-offline", name=pretrained, model=model)
    try:
        return Weights(Path(open_clip.download_pretrained(tag)), preprocessing, quick_gelu)
    except Exception as error:
        # The network, the hub's client and the disk raise errors of many types.
        raise ModelUnavailable("weights-not-fetched", name=pretrained, model=model, reason=first_line(error)) from error


def read_torchscript(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a CLIP model that OpenAI published as a TorchScript archive; None if the file is no archive.

    Args:
        file: its hash must be known to be OpenAI's, because reading an archive may run code in it.
    """
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return None
    tensors: dict[str, Tensor] = torch.jit.load(file, map_location="cpu").state_dict()
    return {name: value for name, value in tensors.items() if name not in _NOT_WEIGHTS}


def _find_cached(tag: dict[str, Any]) -> Iterator[Path]:
    """Files of weights that open_clip has fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, name = tag.get("hf_hub", "").rpartition("/")
    names = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    for candidate in names if repository else ():
        cached = try_to_load_from_cache(repository, candidate)
        if isinstance(cached, str):
            yield Path(cached)
    if tag.get("url"):
        fetched = Path.home() / ".cache" / "clip" / Path(tag["url"]).name
        if fetched.is_file():
            yield fetched
