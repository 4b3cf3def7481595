"""Chooses the synthetic identities of decoy mode.

    python bundle/train/decoys.py FACES WORK          after thresholds.py; writes bundle/mini/decoys.safetensors
    python bundle/train/decoys.py FACES WORK --add    the same people, also embedded by recognisers that the file lacks

They are faces of the train split: adult, frontal, marked as good examples, and dissimilar for every recogniser. Only
their embeddings are stored, one (16, D) tensor per recogniser.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from canvases import read_canvases
from safetensors.torch import load_file, save_file
from thresholds import embed_faces
from torch import Tensor

from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import list_recognisers
from c2p_core.recognition.thresholds import read_thresholds

_COUNT = 16
_FRONTAL = 0.15
_YOUNG = re.compile(r"child|kid|teen|girl|boy|baby|young|(?<!\d)(1?\d|2[0-4]) year", re.IGNORECASE)


def is_usable(row: dict[str, str]) -> bool:
    """Whether a face may become a decoy, by its row in faces.csv."""
    labels = f"{row['row_label']} {row['all_labels']}"
    return row["example_ok"] == "1" and abs(float(row["yaw_proxy"])) < _FRONTAL and not _YOUNG.search(labels)


def choose_dissimilar(likeness: Tensor, count: int) -> list[int]:
    """Choose ``count`` mutually dissimilar rows of a symmetric (N, N) similarity matrix, greedily."""
    similarities = likeness.clone().fill_diagonal_(float("inf"))
    first = int(similarities.argmin()) // len(similarities)
    chosen = [first]
    nearest = similarities[first].clone()
    while len(chosen) < count:
        next_row = int(nearest.argmin())
        chosen.append(next_row)
        nearest = torch.maximum(nearest, similarities[next_row])
        nearest[chosen] = float("inf")
    return chosen


def find_identities(stored: dict[str, Tensor], vectors: dict[str, Tensor]) -> list[int]:
    """Find the rows of ``vectors`` with the identities of a file."""
    matches = {tuple((stored[name] @ vectors[name].T).argmax(1).tolist()) for name in stored}
    if len(matches) != 1:
        raise SystemExit("The recognisers of the file find different people in it; write it anew, without --add.")
    return list(matches.pop())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the people of the file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store, path = ModelStore(), bundle_dir() / "mini" / "decoys.safetensors"
    stored = load_file(path) if arguments.add else {}
    thresholds = read_thresholds(bundle_dir() / "mini" / "thresholds.json")
    faces = list(read_canvases(arguments.faces, arguments.work, "train"))
    usable = torch.tensor([at for at, face in enumerate(faces) if is_usable(face.row)])
    vectors = {
        name: embed_faces(name, "train", faces, arguments.work, store)[usable] for name in list_recognisers(store)
    }
    # In impostor standard deviations; the recogniser that finds a pair most similar decides.
    likeness = torch.stack(
        [(v @ v.T - thresholds[name].impostor_mean) / thresholds[name].impostor_std for name, v in vectors.items()]
    )
    chosen = find_identities(stored, vectors) if stored else choose_dissimilar(likeness.amax(0), _COUNT)
    for name, embeddings in vectors.items():
        pairs = (embeddings[chosen] @ embeddings[chosen].T).fill_diagonal_(-1)
        print(f"{name}: highest similarity of two of them {float(pairs.max()):.3f}, FAR 1 % {thresholds[name].far1}")
    print(f"{len(usable)} faces to choose from; chosen:", *(faces[int(usable[at])].row["id"] for at in chosen))
    tensors = {name: embeddings[chosen].contiguous() for name, embeddings in vectors.items()} | stored
    save_file(tensors, path, {"licence": "MIT"})


if __name__ == "__main__":
    main()
