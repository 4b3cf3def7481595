"""The photos to measure, and the folders of a run's rows and pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import NoData

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_FACES = CHECKOUT.parent / "shared" / "faces"
OTHER_PHOTOS = CHECKOUT.parent / "shared" / "other-photos"
RESULTS = CHECKOUT / "benchmarks" / "results"
OUT = CHECKOUT / "benchmarks" / "out"

_PHOTOS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class RunFolders:
    """The folders that a run writes to.

    Attributes:
        rows: folder of protect.jsonl, natural.jsonl and REPORT.md.
        pictures: folder of protected photos and contact sheets; never committed, they show the shared faces.
    """

    rows: Path
    pictures: Path


def find_run_folders(out: Path | None) -> RunFolders:
    """The committed results and the ignored pictures, or the given folder for both."""
    return RunFolders(RESULTS, OUT) if out is None else RunFolders(out, out / "pictures")


def list_faces(names: Path | None = None, photos: Path | None = None) -> tuple[Path, ...]:
    """Photos to measure.

    Args:
        names: text file with one photo name per line, without extension; the shared benchmark40.txt when None, unless
            ``photos`` is given: then all photos of that folder.
        photos: folder of the photos, the shared one when None.

    Raises:
        NoData: the list, the folder or a photo is missing.
    """
    folder = photos or SHARED_FACES / "photos"
    if not folder.is_dir():
        raise NoData("faces-folder-missing", folder=folder)
    available = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _PHOTOS}
    if names is None and photos is not None:
        return tuple(available.values())
    listing = names or SHARED_FACES / "benchmark40.txt"
    if not listing.is_file():
        raise NoData("face-list-missing", path=listing)
    wanted = listing.read_text(encoding="utf-8").split()
    missing = [name for name in wanted if name not in available]
    if missing:
        raise NoData("listed-faces-missing", count=len(missing), path=listing, folder=folder, first=missing[0])
    return tuple(available[name] for name in wanted)


def list_people(folder: Path | None = None, identities: Mapping[str, str] | None = None) -> dict[str, Path]:
    """List several photos of several people, by number of the person and of the photo, such as "p3/2".

    Only the folder holds names: rows, logs and file names carry the numbers.

    Args:
        folder: with a folder for each person, or with photos named after the person with a number, such as
            ``anna1.png``; the shared photos when None.
        identities: the person on each photo, by its name without extension, instead of names and folders; photos
            without an identity are left out.

    Raises:
        NoData: the folder is missing or has no photo.
    """
    root = folder or OTHER_PHOTOS
    if not root.is_dir():
        raise NoData("people-folder-missing", folder=root)
    people: dict[str, list[Path]] = {}
    for photo in (p for pattern in ("*", "*/*") for p in root.glob(pattern) if p.suffix.lower() in _PHOTOS):
        name = _parse_person_name(photo, root) if identities is None else identities.get(photo.stem)
        if name is not None:
            people.setdefault(name, []).append(photo)
    if not people:
        raise NoData("no-photos" if identities is None else "no-identified-photos", folder=root)
    return {
        f"p{number}/{count}": photo
        for number, name in enumerate(sorted(people), start=1)
        for count, photo in enumerate(sorted(people[name], key=_make_sort_key), start=1)
    }


def _parse_person_name(photo: Path, folder: Path) -> str:
    if photo.parent != folder:
        return photo.parent.name
    # A photo whose name is only a number shows somebody without other photos.
    return photo.stem.rstrip("0123456789").rstrip(" -_") or photo.stem


def read_identities(path: Path) -> dict[str, str]:
    """Read the identity on each photo, by the photo's name without extension.

    Each line holds a photo's name and an identity, as in CelebA's ``identity_CelebA.txt`` or in CSV. A first line
    without a photo's name is a heading. Further columns are ignored.

    Raises:
        NoData: the file can't be read, or another line does not begin with a photo's name and an identity.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NoData("identities-unreadable", path=path, reason=str(error)) from error
    identities: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        separator = r"[,;\t]" if re.search(r"[,;\t]", line) else r"\s+"
        cells = [cell.strip().strip('"') for cell in re.split(separator, line.strip())]
        if Path(cells[0]).suffix.lower() in _PHOTOS and len(cells) > 1 and cells[1]:
            identities[Path(cells[0]).stem] = cells[1]
        elif line.strip() and number > 1:
            raise NoData("identity-line-unreadable", line=number, path=path)
    return identities


def parse_person(label: str) -> str:
    """Parse the person from a photo's label: "p3" for "p3/2"."""
    return label.partition("/")[0]


def fingerprint_photos(photos: Iterable[Path]) -> str:
    """Twelve hex digits over the content of the photos, in order."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(hashlib.sha256(photo.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _make_sort_key(photo: Path) -> tuple[int, str]:
    """Sort key: the number at the end of a name, so that photo 10 comes after photo 9."""
    number = re.search(r"\d+$", photo.stem)
    return int(number.group()) if number else 0, photo.stem


def sample_evenly(photos: Sequence[Path], count: int) -> tuple[Path, ...]:
    """Choose ``count`` photos, evenly spread over the list."""
    return tuple(photos[:: max(1, len(photos) // max(1, count))][:count])


def write_sample_portrait(folder: Path) -> Path:
    """Write scikit-image's astronaut, the one portrait that is always available, as a file into ``folder``."""
    from PIL import Image
    from skimage import data

    path = folder / "astronaut.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(path)
    return path
