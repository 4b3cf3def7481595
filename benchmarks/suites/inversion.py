"""How well the prior ``stylegan2`` reproduces faces: by the encoder alone, and after tuning as in the program.

PSNR inside the FFHQ-aligned crop, at the generator's working size; no search, and no cached inversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import rows
from benchmarks.fingerprint import fingerprint_code
from benchmarks.recognisers import open_store
from benchmarks.rows import InversionRow
from benchmarks.suites.runner import Outcome, run_missing, store_row
from c2p_core import faces, verify
from c2p_core.api import DEFAULT_STRENGTH
from c2p_core.device import pick_device
from c2p_core.errors import Message
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.priors.inversion import InversionSettings
from c2p_core.priors.inversion_cache import MemoryInversions
from c2p_core.priors.wplus import Networks, WPlusPrior, load_networks

# The encoder's estimate alone, without search or tuning.
_ENCODER = InversionSettings(latent_steps=0, tuning_steps=0)


@lru_cache(maxsize=1)
def _load_networks(device: torch.device) -> tuple[Networks, NDArray[np.float32]]:
    store = open_store()
    return load_networks(store, device), load_mean_face(store.obtain("complexion"))


def measure(photo: Path) -> InversionRow | None:
    """Invert the largest face of a photo; None when it shows none that could be protected."""
    device = pick_device("auto")
    networks, mean_face = _load_networks(device)
    picture = View(photo_files.read(photo))
    face = next((face for face in faces.find_faces_in(picture, open_store()) if not face.skipped), None)
    if face is None:
        return None
    crop = verify.crop_face(picture, face)
    canvas = CanvasFace(crop.pixels.to(device), crop.mesh.to(device))

    def measure_quality(settings: InversionSettings) -> float:
        prior = WPlusPrior(networks, mean_face, device, MemoryInversions(), _fail, settings=settings)
        return prior.invert(canvas, DEFAULT_STRENGTH).inversion.quality

    encoder = measure_quality(_ENCODER)
    start = perf_counter()
    tuned = measure_quality(InversionSettings())
    return InversionRow(photo.stem, encoder, tuned, perf_counter() - start, fingerprint_code())


def _fail(warning: Message) -> None:
    # A run with reduced memory on a small GPU would not measure the whole inversion.
    raise RuntimeError(warning.text())


def run(
    photos: Sequence[Path],
    folder: Path,
    executor: Executor,
    log: Callable[[str], None],
    measure_photo: Callable[[Path], InversionRow | None] = measure,
) -> Outcome:
    """Add a row for every photo that has none yet.

    Args:
        log: prints a line.
        measure_photo: measures one photo; replaced in tests.
    """
    path = folder / rows.INVERSION_FILE
    rows.drop_incomplete_line(path)
    measured = {row.face for row in rows.read(path, rows.InversionRow)}
    missing = [photo for photo in photos if photo.stem not in measured]

    return run_missing(
        missing,
        len(photos) - len(missing),
        folder,
        measure_photo,
        partial(store_row, path, _summarise),
        lambda photo: photo.stem,
        executor,
        log,
    )


def _summarise(row: InversionRow | None) -> str:
    return "shows no face to invert" if row is None else f"{row.encoder:.1f} dB, after tuning {row.tuned:.1f} dB"
