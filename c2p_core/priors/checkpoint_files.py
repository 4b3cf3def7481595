"""Finds the user's own checkpoints for the prior stylegan2; imports no torch, so that checking for them is fast."""

from __future__ import annotations

from pathlib import Path

from c2p_core.errors import Message, ModelUnavailable

FOLDER = "stylegan2"
"""Name of the folder of checkpoints within the folder of models."""
SHIPPED_GENERATOR = "stylegan2-mini"
"""The shipped model, with both networks."""
GENERATORS = {"stylegan2-ffhq": "stylegan2-ffhq-config-f.pt", "stylegan2-ffhq-nvidia": "ffhq.pkl"}
"""Models of the manifest that are a generator alone, with the names of their files."""
_E4E = "e4e_ffhq_encode.pt"
_ENDINGS = (".safetensors", ".pt", ".pkl")


def find_checkpoints(models: Path) -> tuple[Path, Path] | None:
    """Find the user's generator and encoder, which may be one file; None when there are none.

    An encoder without a generator beside it belongs to the generator that was fetched (``GENERATORS``).

    Args:
        models: folder of downloaded models.

    Raises:
        ModelUnavailable: there is an encoder without a generator, or the other way round.
    """
    folder = models / FOLDER
    combined = folder / _E4E
    if combined.is_file():
        return combined, combined
    files = {
        name: next((folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").is_file()), None)
        for name in ("generator", "encoder")
    }
    generator, encoder = files.values()
    if encoder is not None and generator is None:
        fetched = (models / name / file for name, file in GENERATORS.items())
        generator = next((path for path in fetched if path.is_file()), None)
    if generator is not None and encoder is not None:
        return generator, encoder
    for present, missing in ((generator, "encoder"), (encoder, "generator")):
        if present is not None:
            raise ModelUnavailable(
                "checkpoint-alone", file=present.name, folder=str(folder), missing=missing, endings=list(_ENDINGS)
            )
    return None


def missing_priors(models: Path) -> dict[str, Message]:
    """The unavailable priors, each with a message that says what is missing.

    Args:
        models: folder of downloaded models.
    """
    try:
        find_checkpoints(models)
    except ModelUnavailable as error:
        return {"stylegan2": error.message}
    return {}
