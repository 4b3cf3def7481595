"""The faces that are measured, and where rows and pictures of a run go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_FACES = CHECKOUT.parent / "shared" / "faces"
RESULTS = CHECKOUT / "benchmarks" / "results"
OUT = CHECKOUT / "benchmarks" / "out"


class NoData(Exception):
    """The faces to measure are not there; the message says where they were looked for."""


@dataclass(frozen=True)
class Places:
    """Where a run leaves things.

    Attributes:
        rows: folder of protect.jsonl, natural.jsonl and REPORT.md.
        pictures: folder of protected photos and contact sheets; never committed, they show the shared faces.
    """

    rows: Path
    pictures: Path


def places(out: Path | None) -> Places:
    """The committed results and the ignored pictures, or one folder for both when an experiment names it."""
    return Places(RESULTS, OUT) if out is None else Places(out, out / "pictures")


def face_list(names: Path | None = None, photos: Path | None = None) -> tuple[Path, ...]:
    """Photos to measure.

    Args:
        names: text file with one photo name without ending a line; the shared benchmark40.txt when None, unless
            ``photos`` is given: then all photos of that folder.
        photos: folder of the photos, the shared one when None.

    Raises:
        NoData: the list, the folder or a photo is not there.
    """
    folder = photos or SHARED_FACES / "photos"
    if not folder.is_dir():
        raise NoData(f"There is no folder {folder}; put the shared faces beside the checkout or give --photos.")
    available = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg", ".png")}
    if names is None and photos is not None:
        return tuple(available.values())
    listing = names or SHARED_FACES / "benchmark40.txt"
    if not listing.is_file():
        raise NoData(f"There is no list of faces {listing}; give --faces.")
    wanted = listing.read_text(encoding="utf-8").split()
    missing = [name for name in wanted if name not in available]
    if missing:
        raise NoData(f"{len(missing)} photos of {listing} are not in {folder}, the first is {missing[0]}.")
    return tuple(available[name] for name in wanted)


def spread(photos: Sequence[Path], count: int) -> tuple[Path, ...]:
    """So many of a list, evenly spread over it."""
    return tuple(photos[:: max(1, len(photos) // max(1, count))][:count])


def sample_portrait(folder: Path) -> Path:
    """scikit-image's astronaut as a file in ``folder``: the one face that is always there."""
    from PIL import Image
    from skimage import data

    path = folder / "astronaut.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(path)
    return path
