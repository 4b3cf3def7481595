"""Aligns the faces of a folder with photos/ and faces.csv as the program does, and saves their canvases.

    python bundle/train/canvases.py FACES WORK

Writes WORK/ID.npz for every face whose mesh converges near its five points in faces.csv: ``pixels``
(256, 256, 3) uint8 and ``mesh`` (468, 2) float32 in canvas pixels. Can be interrupted and resumed.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE, align, crop_canvas, transform_points
from c2p_core.faces.landmarks import FaceMesh, eye_distance, to_tensor
from c2p_core.io import colour_profiles, photo_files
from c2p_core.models.store import ModelStore

# Maximum distance of the mesh's eyes from those of faces.csv, in eye distances.
_MAX_EYE_ERROR = 0.25
_MISSED = "missed"


@dataclass(frozen=True)
class Canvas:
    """One face on its canvas.

    Attributes:
        row: its line of faces.csv.
        pixels: (256, 256, 3) uint8 sRGB.
        mesh: (468, 2) float32 canvas pixels.
    """

    row: dict[str, str]
    pixels: NDArray[np.uint8]
    mesh: NDArray[np.float32]


def read_rows(faces: Path) -> list[dict[str, str]]:
    """Read the rows of faces.csv."""
    with (faces / "faces.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _parse_five_points(row: dict[str, str]) -> NDArray[np.float32]:
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    return np.array([[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in names], dtype=np.float32)


def _align_face(faces: Path, row: dict[str, str], measure: FaceMesh) -> Canvas | None:
    photo = to_tensor(colour_profiles.to_srgb(photo_files.read(faces / "photos" / f"{row['id']}.jpg")))
    points = _parse_five_points(row)
    mesh, presence = measure(photo, points)
    eyes = np.stack([mesh[list(LEFT_EYE), :2].mean(0), mesh[list(RIGHT_EYE), :2].mean(0)])
    error = np.linalg.norm(eyes - points[:2], axis=1).mean() / np.linalg.norm(points[1] - points[0])
    if presence < 0.5 or error > _MAX_EYE_ERROR:
        return None
    alignment = align(mesh[:, :2], eye_distance(mesh))
    pixels = (crop_canvas(photo, alignment).clamp(0, 1) * 255).round().byte()
    return Canvas(row, pixels.permute(1, 2, 0).numpy(), transform_points(alignment.to_canvas, mesh[:, :2]))


def read_canvases(faces: Path, work: Path, split: str) -> Iterator[Canvas]:
    """Read the canvases of one split that ``main`` has written."""
    for row in read_rows(faces):
        path = work / f"{row['id']}.npz"
        if row["split"] == split and path.exists():
            with np.load(path, allow_pickle=False) as stored:
                yield Canvas(row, stored["pixels"], stored["mesh"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    measure = FaceMesh(ModelStore().obtain("face-mesh"))
    missed = 0
    for number, row in enumerate(read_rows(arguments.faces)):
        path, marker = work / f"{row['id']}.npz", work / f"{row['id']}.{_MISSED}"
        if not path.exists() and not marker.exists():
            canvas = _align_face(arguments.faces, row, measure)
            if canvas is None:
                marker.touch()
            else:
                temporary = path.with_suffix(".part")
                with temporary.open("wb") as file:
                    np.savez(file, pixels=canvas.pixels, mesh=canvas.mesh)
                temporary.replace(path)
        missed += marker.exists()
        if number % 50 == 0:
            print(f"{number} faces, {missed} not found where listed", flush=True)


if __name__ == "__main__":
    main()
