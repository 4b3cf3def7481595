"""Measures the thresholds of recognisers: the similarity above which they take two different people for one.

    python bundle/train/canvases.py FACES WORK                       the faces of FACES, aligned
    PYTHONPATH=.:plugin python bundle/train/thresholds.py --faces FACES WORK --photos FOLDER
    python bundle/train/manifest_hashes.py

writes bundle/mini/thresholds.json. A threshold that is too high makes protection look better than it is, so the lowest
of up to three sources is used at a false accept rate (FAR) of 1 %:

- "synthetic": impostor pairs of synthetic faces of the train split of FACES, without near duplicates (``dup_group``).
  The rates on the val split's pairs are stored too, as a check. Synthetic faces resemble each other.
- "photos": impostor pairs of photos in FOLDER, which has a folder for each person, or photos named by the person and a
  number. Only the threshold and the numbers of pairs and people are stored.
- "vendor": the documented default of the recogniser's authors, if there is one (bundle/manifest.toml).

A threshold is only computed from enough pairs for `impostors.ENOUGH` false accepts: 0.1 % of some hundred pairs is no
estimate. If FOLDER is small, the threshold at 0.1 % thus comes from synthetic pairs alone; it is never below that at
1 %.

Sources that are not given are kept from the file: --only NAME measures one recogniser again, --photos alone only the
photos. Users measure their own folders with `c2p thresholds`, which shares this script's code. Embeddings of synthetic
faces are cached in WORK; delete WORK/*.safetensors after changing a recogniser or its alignment. Mean and spread
(standard deviation) are those of synthetic pairs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from canvases import Canvas, read_canvases
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2p_core.errors import Message
from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import list_recognisers, load_embed
from c2p_core.recognition.impostors import compute_impostor_similarities, embed_folder, measure

_BATCH = 8
SOURCES = ("synthetic", "photos", "vendor")

Entry = dict[str, Any]


def embed_faces(name: str, split: str, faces: Sequence[Canvas], work: Path, store: ModelStore) -> Tensor:
    """Embed faces with one recogniser, as (N, D) unit vectors; cached in ``work``."""
    cache = work / f"{name}-{split}.safetensors"
    if not cache.exists():
        embed = load_embed(name, store, torch.device("cpu"))
        parts = []
        for first in range(0, len(faces), _BATCH):
            batch = faces[first : first + _BATCH]
            images = torch.stack([torch.from_numpy(face.pixels) for face in batch]).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                parts.append(embed(images, torch.stack([torch.from_numpy(face.mesh) for face in batch])))
        save_file({"embeddings": torch.cat(parts)}, cache)
    embeddings = load_file(cache)["embeddings"]
    if len(embeddings) != len(faces):
        raise SystemExit(f"{cache} holds {len(embeddings)} of {len(faces)} faces; delete it and start again.")
    return embeddings


def summarise(similarities: Tensor) -> Entry:
    """Summarise impostor pairs; thresholds with too few pairs are left out."""
    measured = measure(similarities)
    rates = {"far1": measured.far1, "far01": measured.far01}
    return {name: value for name, value in rates.items() if value is not None} | {"pairs": measured.pairs}


def summarise_synthetic(train: Tensor, val: Tensor) -> Entry:
    """Summarise the pairs of the train split, with the false accept rates on those of the val split."""
    summary = summarise(train)
    return {
        **summary,
        "impostor_mean": round(float(train.mean()), 4),
        "impostor_std": round(float(train.std()), 4),
        "val_pairs": len(val),
        **{
            f"val_rate_at_{name}": round(float((val > summary[name]).float().mean()), 5)
            for name in ("far1", "far01")
            if name in summary
        },
    }


def decide(sources: Mapping[str, Entry]) -> Entry:
    """Build the entry of one recogniser: its sources, and for each rate the lowest threshold and its source.

    Args:
        sources: by names of `SOURCES`; of equal thresholds the first one decides.

    Raises:
        SystemExit: there are no synthetic pairs, whose mean and standard deviation are needed.
    """
    if "synthetic" not in sources:
        raise SystemExit("There are no synthetic pairs for it yet; give --faces.")
    ordered = {name: sources[name] for name in SOURCES if name in sources}

    def find_lowest(rate: str) -> str:
        available = [name for name, entry in ordered.items() if rate in entry]
        if not available:
            raise SystemExit(f"No source has enough pairs for {rate}.")
        return min(available, key=lambda name: float(ordered[name][rate]))

    far1, far01 = find_lowest("far1"), find_lowest("far01")
    return {
        "far1": ordered[far1]["far1"],
        # Different sources could otherwise give a lower threshold for fewer false accepts.
        "far01": max(ordered[far01]["far01"], ordered[far1]["far1"]),
        "decided_by": {"far1": far1, "far01": far01},
        "impostor_mean": ordered["synthetic"]["impostor_mean"],
        "impostor_std": ordered["synthetic"]["impostor_std"],
        "sources": ordered,
    }


def collect_sources(table: Mapping[str, Any]) -> dict[str, dict[str, Entry]]:
    """Collect sources by recogniser from a file of this script, or of its older format with only synthetic pairs."""
    sources: dict[str, dict[str, Entry]] = {}
    for name, entry in table.get("recognisers", {}).items():
        if "sources" in entry:
            sources[name] = dict(entry["sources"])
        else:
            pairs = table["pairs"]
            sources[name] = {"synthetic": {**entry, "pairs": pairs["train"], "val_pairs": pairs["val"]}}
    return sources


def measure_synthetic(folder: Path, work: Path, names: Sequence[str], store: ModelStore) -> dict[str, Entry]:
    """Summarise impostor pairs of synthetic faces, by recogniser."""
    splits = {split: list(read_canvases(folder, work, split)) for split in ("train", "val")}
    groups = {split: [face.row["dup_group"] for face in canvases] for split, canvases in splits.items()}
    result = {}
    for name in names:
        pairs = {
            split: compute_impostor_similarities(embed_faces(name, split, canvases, work, store), groups[split])
            for split, canvases in splits.items()
        }
        result[name] = summarise_synthetic(pairs["train"], pairs["val"])
    return result


def measure_photos(folder: Path, names: Sequence[str], store: ModelStore) -> dict[str, Entry]:
    """Summarise impostor pairs of real photos, by recogniser; nothing else is stored of them."""
    unreadable: list[Message] = []
    embedded = embed_folder(folder, names, store, torch.device("cpu"), unreadable)
    for message in unreadable:
        print(message)
    return {
        name: {
            **summarise(compute_impostor_similarities(vectors, embedded.people)),
            "people": len(set(embedded.people)),
        }
        for name, vectors in embedded.vectors.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", nargs=2, type=Path, metavar=("FACES", "WORK"))
    parser.add_argument("--photos", type=Path, metavar="FOLDER")
    store = ModelStore()
    all_names = list_recognisers(store)
    parser.add_argument("--only", action="append", choices=all_names, help="measure this one alone; may be repeated")
    default = bundle_dir() / "mini" / "thresholds.json"
    parser.add_argument("--output", type=Path, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.only or all_names
    existing = arguments.output if arguments.output.exists() else default
    sources = collect_sources(json.loads(existing.read_text(encoding="utf-8")))
    measured: dict[str, dict[str, Entry]] = {}
    if arguments.faces:
        folder, work = arguments.faces
        measured["synthetic"] = measure_synthetic(folder, work, names, store)
    if arguments.photos:
        measured["photos"] = measure_photos(arguments.photos, names, store)
    result = {}
    for name in all_names:
        recogniser_sources = {
            **sources.get(name, {}),
            **{source: entries[name] for source, entries in measured.items() if name in entries},
        }
        recogniser_sources.pop("vendor", None)
        vendor = store.entry(name).default
        if vendor is not None:
            recogniser_sources["vendor"] = {"far1": vendor.threshold, "says": vendor.says}
        result[name] = decide(recogniser_sources)
        print(name, json.dumps(result[name]), flush=True)
    text = json.dumps({"recognisers": result}, indent=2, sort_keys=True) + "\n"
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
