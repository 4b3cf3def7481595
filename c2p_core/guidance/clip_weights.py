"""Weights of text models that do not ship: a file of the user's, or what open_clip knows by a tag, from its cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2p_core import torchvision_ops
from c2p_core.errors import BadRequest, ModelUnavailable

# What open_clip's loader takes, and reads without running what a file says.
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
# Of the settings that open_clip keeps with a tag, those that say how pictures are prepared.
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what of the preparation of pictures differs from open_clip's usual one."""

    file: Path
    preprocessing: dict[str, Any]


def find_weights(model: str, pretrained: str, offline: bool) -> Weights:
    """The weights of a model by tag or file; those of a tag are fetched into open_clip's own cache where allowed.

    Args:
        model: as open_clip calls it.
        pretrained: a file, or one of open_clip's tags for the model.
        offline: fetch nothing.

    Raises:
        BadRequest: open_clip knows no such model or tag, or the model's tokenizer is no part of open_clip.
        ModelUnavailable: the weights can't be had.
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
        known = open_clip.list_pretrained_tags_by_model(model)
        if not known:
            raise BadRequest("weights-only-from-file", name=pretrained[:200], model=model)
        raise BadRequest("weights-unknown", name=pretrained[:200], model=model, known=known)
    preprocessing = {name: tag[name] for name in _PREPROCESSING if tag.get(name) is not None}
    cached = next(_cached(tag), None)
    if cached is not None:
        return Weights(cached, preprocessing)
    if offline:
        raise ModelUnavailable("weights-offline", name=pretrained, model=model)
    try:
        return Weights(Path(open_clip.download_pretrained(tag)), preprocessing)
    except Exception as error:
        # Whatever the network, the hub's client or the disk had to say.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
        raise ModelUnavailable("weights-not-fetched", name=pretrained, model=model, reason=reason[:160]) from error


def _cached(tag: dict[str, Any]) -> Iterator[Path]:
    """Files that open_clip fetched before."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, name = tag.get("hf_hub", "").rpartition("/")
    names = [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    for candidate in names if repository else ():
        found = try_to_load_from_cache(repository, candidate)
        if isinstance(found, str):
            yield Path(found)
    if tag.get("url"):
        fetched = Path.home() / ".cache" / "clip" / Path(tag["url"]).name
        if fetched.is_file():
            yield fetched
