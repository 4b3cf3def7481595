"""Learns the complexion model: principal components of light and tone on real faces.

    python bundle/train/complexion.py FACES WORK

WORK is the output folder of ``canvases.py``. Uses nearly frontal faces of the train split, without beards, glasses and
hats according to their labels. Each face's optical density is warped to the mean face, cells without skin are filled
from their neighbours, its mean colour is removed, and the face and its mirror image enter the analysis (probabilistic
PCA, Tipping and Bishop 1999, by the dual eigenproblem). Writes bundle/mini/complexion.safetensors (float16) and prints
its figures.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from canvases import Canvas, read_canvases
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from c2p_core.colour import density, srgb_to_linear
from c2p_core.faces import regions
from c2p_core.faces.align import CANVAS
from c2p_core.faces.canonical import cell_centres, warp_between_meshes

Array = NDArray[np.float32]

CELLS = 96
COMPONENTS = 150
_MAX_YAW = 0.35
_MIN_EYES = 35.0
_MIN_SKIN = 0.6  # minimum share of skin in the skin area; below it, there is a mask, a hand or hair
_COVERED_LABELS = re.compile("beard|mustache|stubble|glasses|mask|hat|helmet|scarf|fedora", re.IGNORECASE)
_FILL_WIDTHS = (0.8, 2.0, 5.0, 12.0)  # Gaussian widths, in cells, from which holes are filled, finest first


def is_usable(canvas: Canvas) -> bool:
    """Whether a face is frontal, large enough and shows bare skin, according to its row."""
    row = canvas.row
    is_frontal = float(row["eye_dist_px"]) > _MIN_EYES and abs(float(row["yaw_proxy"])) < _MAX_YAW
    return is_frontal and not _COVERED_LABELS.search(row["all_labels"])


def compute_symmetric_mean(meshes: list[Array]) -> Array:
    """(468, 2) mean of meshes and of their mirror images."""
    mean = np.mean(meshes, axis=0)
    mirrored = np.stack([CANVAS - mean[:, 0], mean[:, 1]], axis=1)
    partner = cKDTree(mirrored).query(mean)[1]
    return np.asarray((mean + mirrored[partner]) / 2, dtype=np.float32)


def make_skin_masks(mean: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(CELLS, CELLS) masks on the mean face: bare skin, and everything within its outline."""
    oval = regions.signed_distance(mean, regions.OVAL)
    eyes, lips = regions.eyes_distance(mean), regions.signed_distance(mean, regions.OUTER_LIPS)
    brows = np.minimum(
        regions.signed_distance(mean, regions.LEFT_BROW), regions.signed_distance(mean, regions.RIGHT_BROW)
    )
    skin = (oval < 0) & (eyes > 4) & (lips > 1) & (brows > 0)
    cells = cell_centres(CELLS).astype(int)
    return skin[cells[:, 1], cells[:, 0]].reshape(CELLS, CELLS), (oval < 0)[cells[:, 1], cells[:, 0]].reshape(
        CELLS, CELLS
    )


def extract_pattern(canvas: Canvas, mean: Array, skin: NDArray[np.bool_]) -> Array | None:
    """(CELLS, CELLS, 3) density of one face on the mean face, minus its mean; None when there is too little skin."""
    positions = warp_between_meshes(mean, canvas.mesh, cell_centres(CELLS)) - 0.5
    linear = srgb_to_linear(torch.from_numpy(canvas.pixels).float() / 255).numpy()
    smooth = np.stack([gaussian_filter(linear[..., c], 1.2) for c in range(3)], axis=-1)
    tone = density(torch.from_numpy(smooth)).numpy()
    coordinates = [positions[:, 1], positions[:, 0]]
    values = np.stack([map_coordinates(tone[..., c], coordinates, order=1, mode="nearest") for c in range(3)], axis=-1)
    is_skin_area = skin.ravel()
    deviation = values - np.median(values[is_skin_area], axis=0)
    chroma = np.linalg.norm(deviation - deviation.mean(1, keepdims=True), axis=1)
    inside = ((positions > 0) & (positions < CANVAS - 1)).all(1)
    is_skin = (
        inside
        & is_skin_area
        & (chroma < max(0.25, 5 * float(np.median(chroma[is_skin_area]))))
        & (np.abs(deviation.mean(1)) < 1.6)
    )
    if is_skin.sum() < _MIN_SKIN * is_skin_area.sum():
        return None
    filled = _fill_holes(values.reshape(CELLS, CELLS, 3), is_skin.reshape(CELLS, CELLS))
    return np.asarray(filled - filled[skin].mean(0), dtype=np.float32)


def _fill_holes(values: Array, known: NDArray[np.bool_]) -> Array:
    """Smooth known cells slightly and fill the others from increasingly wide neighbourhoods."""
    weight = known.astype(np.float32)
    result = np.zeros_like(values)
    missing = np.ones_like(weight)
    for width in _FILL_WIDTHS:
        coverage = gaussian_filter(weight, width)
        mean = np.stack([gaussian_filter(values[..., c] * weight, width) for c in range(3)], axis=-1)
        share = missing if width == _FILL_WIDTHS[-1] else missing * np.clip(3 * coverage, 0, 1)
        result += share[..., None] * mean / np.maximum(coverage, 1e-4)[..., None]
        missing = missing - share
    return result


def compute_components(patterns: Array, extent: NDArray[np.bool_]) -> tuple[Array, float]:
    """Compute (K, 3, CELLS, CELLS) components scaled to one standard deviation, and their share of the variance."""
    data = patterns[:, extent].reshape(len(patterns), -1)
    data = data - data.mean(0)
    values, vectors = np.linalg.eigh(data @ data.T / len(data))
    values, vectors = values[::-1], vectors[:, ::-1]
    axes = vectors[:, :COMPONENTS].T @ data / np.sqrt(len(data))
    grid = np.zeros((COMPONENTS, CELLS, CELLS, 3), np.float32)
    grid[:, extent] = axes.reshape(COMPONENTS, -1, 3)
    # Outside the outline the nearest cell is repeated, so that faces slightly larger than the mean have no seam.
    rows, columns = distance_transform_edt(~extent, return_distances=False, return_indices=True)
    return grid[:, rows, columns].transpose(0, 3, 1, 2), float(values[:COMPONENTS].sum() / values.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "mini" / "complexion.safetensors")
    arguments = parser.parse_args()
    usable = [canvas for canvas in read_canvases(arguments.faces, arguments.work, "train") if is_usable(canvas)]
    mean = compute_symmetric_mean([canvas.mesh for canvas in usable])
    skin, extent = make_skin_masks(mean)
    extracted = [p for canvas in usable if (p := extract_pattern(canvas, mean, skin)) is not None]
    patterns = np.stack(extracted)
    components, share = compute_components(np.concatenate([patterns, patterns[:, :, ::-1]]), extent)
    tensors = {
        "mesh": torch.from_numpy(mean),
        "components": torch.from_numpy(np.ascontiguousarray(components)).half(),
        "extent": torch.from_numpy(extent).half(),
    }
    save_file(tensors, arguments.out)
    print(
        f"{len(extracted)} of {len(usable)} faces, mirrored too; {COMPONENTS} components, {share:.1%} of the variance"
    )


if __name__ == "__main__":
    main()
