"""Measures from which similarity on each recogniser takes two different people for one.

    python bundle/train/canvases.py FACES WORK        the faces of FACES, aligned
    python bundle/train/thresholds.py FACES WORK      writes bundle/mini/thresholds.json

Every pair of two faces of the train split is a pair of different people, near duplicates (``dup_group``) left out. The
false accept rates of these thresholds on the val split's pairs are written beside them, as a check. Embeddings are kept
in WORK; delete WORK/*.safetensors after a change of a recogniser or its alignment.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from canvases import Canvas, canvases
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import RECOGNISERS, load_embed

_BATCH = 8


def embeddings(name: str, split: str, faces: Sequence[Canvas], work: Path, store: ModelStore) -> Tensor:
    """(N, D) unit vectors of one recogniser, computed once."""
    kept = work / f"{name}-{split}.safetensors"
    if not kept.exists():
        embed = load_embed(name, store, torch.device("cpu"))
        parts = []
        for at in range(0, len(faces), _BATCH):
            batch = faces[at : at + _BATCH]
            images = torch.stack([torch.from_numpy(face.pixels) for face in batch]).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                parts.append(embed(images, torch.stack([torch.from_numpy(face.mesh) for face in batch])))
        save_file({"embeddings": torch.cat(parts)}, kept)
    made = load_file(kept)["embeddings"]
    if len(made) != len(faces):
        raise SystemExit(f"{kept} holds {len(made)} of {len(faces)} faces; delete it and start again.")
    return made


def impostor_similarities(vectors: Tensor, groups: Sequence[str]) -> Tensor:
    """Cosines of all pairs, near duplicates left out.

    Args:
        vectors: (N, D) unit vectors.
        groups: for each, the group of near duplicates that it is in, or nothing.

    Returns:
        (pairs,) in ascending order.
    """
    first, second = torch.triu_indices(len(vectors), len(vectors), 1)
    numbers = {group: number for number, group in enumerate(sorted(set(groups) - {""}))}
    # Faces without duplicates get a number of their own.
    ids = torch.tensor([numbers.get(group, len(numbers) + at) for at, group in enumerate(groups)])
    different = ids[first] != ids[second]
    return (vectors @ vectors.T)[first[different], second[different]].sort().values


def at_rate(similarities: Tensor, rate: float) -> float:
    """The similarity that the given share of ascending values exceeds."""
    return float(similarities[min(len(similarities) - 1, int(len(similarities) * (1 - rate)))])


def measure(train: Tensor, val: Tensor) -> dict[str, float]:
    """Thresholds from the pairs of one split, and their rates on the other."""
    far1, far01 = at_rate(train, 0.01), at_rate(train, 0.001)
    return {
        "far1": round(far1, 4),
        "far01": round(far01, 4),
        "mean": round(float(train.mean()), 4),
        "spread": round(float(train.std()), 4),
        "val_rate_at_far1": round(float((val > far1).float().mean()), 5),
        "val_rate_at_far01": round(float((val > far01).float().mean()), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = ModelStore()
    splits = {split: list(canvases(arguments.faces, arguments.work, split)) for split in ("train", "val")}
    groups = {split: [face.row["dup_group"] for face in faces] for split, faces in splits.items()}
    result: dict[str, object] = {
        "faces": {split: len(faces) for split, faces in splits.items()},
        "recognisers": {},
    }
    for name in RECOGNISERS:
        pairs = {
            split: impostor_similarities(embeddings(name, split, faces, arguments.work, store), groups[split])
            for split, faces in splits.items()
        }
        result["pairs"] = {split: len(values) for split, values in pairs.items()}
        measured = measure(pairs["train"], pairs["val"])
        print(name, measured, flush=True)
        assert isinstance(result["recognisers"], dict)
        result["recognisers"][name] = measured
    text = json.dumps(result, indent=2, sort_keys=True) + "\n"
    (bundle_dir() / "mini" / "thresholds.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
