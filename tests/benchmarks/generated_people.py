"""Photos of people who do not exist."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.data import list_people
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoints import load_generator


def generate_two_people(folder: Path) -> dict[str, Path]:
    """Write two photos each of two people, made by the small generator; returns them as `list_people` does."""
    generator = load_generator(ModelStore().obtain("stylegan2-mini")).eval()
    folder.mkdir()
    for name, seed in (("a", 0), ("b", 2)):
        draw = torch.randn(1, generator.shape.style, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            picture = generator(generator.map(draw, 0.6))[0].clamp(-1, 1).add(1).mul(127.5).byte().permute(1, 2, 0)
        photo = Image.fromarray(picture.numpy()).resize((320, 320), Image.Resampling.LANCZOS)
        photo.save(folder / f"{name}1.png")
        ImageEnhance.Brightness(ImageOps.mirror(photo)).enhance(0.8).save(folder / f"{name}2.png")
    return list_people(folder)
