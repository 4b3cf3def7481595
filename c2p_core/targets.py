"""Chooses the files of results; they never replace a photo or another result, nor other files without permission."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from c2p_core.errors import BadRequest
from c2p_core.io.atomic_files import check_folder, find_free_name, fit_name, make_folder


def plan_targets(photos: Sequence[Path], output: str | None, overwrite: bool = False) -> list[Path]:
    """Choose the file of each protected photo; creates the folder where one is needed.

    A name given by the user must be free; a name chosen here gets a number if it is taken.

    Raises:
        BadRequest: an original or, without ``overwrite``, another file would be overwritten, two photos would get the
            same name, or the extension is unknown.
        CannotWrite: the folder can't be created, or the folder or file is not writable.
    """
    from c2p_core.io import photo_files

    folder = Path(output) if output is not None else None
    # For functions of os.path, a name that is too long does not exist.
    names_file = folder is not None and len(photos) == 1 and not str(output).endswith(("/", os.sep))
    if folder is not None and names_file and not os.path.isdir(folder):  # noqa: PTH112
        if os.path.exists(folder) and not overwrite:  # noqa: PTH110
            check_not_input(folder, photos)
            raise BadRequest("result-exists", path=str(folder))
        targets = [folder]
    else:
        if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112
            raise BadRequest("output-is-file", path=str(folder))
        if folder is not None and len(photos) > 1 and folder.suffix.lower() in photo_files.FORMATS:
            raise BadRequest("output-names-file", path=str(folder))
        targets = []
        for photo in photos:
            name = fit_name(photo.stem, f".protected{photo_files.ending_for(photo)}")
            targets.append((folder or photo.parent) / name)
    counts = Counter(map(normalise_name, targets))
    for target in targets:
        photo_files.check_target(target)
        check_not_input(target, photos)
        if counts[normalise_name(target)] > 1:
            raise BadRequest("outputs-collide", path=str(target))
    if folder is not None and targets == [folder]:
        check_folder(folder)
        return targets
    if folder is not None:
        make_folder(folder)
    return targets if overwrite else [find_free_name(target) for target in targets]


def normalise_name(target: Path) -> tuple[Path, str]:
    """A key that is equal for names of the same file on a disk that ignores case or Unicode normalisation."""
    return target.parent, unicodedata.normalize("NFC", unicodedata.normalize("NFC", target.name).casefold())


def check_not_input(target: Path, photos: Sequence[Path]) -> None:
    for photo in photos:
        both_exist = os.path.exists(target) and os.path.exists(photo)  # noqa: PTH110
        if target.resolve() == photo.resolve() or (both_exist and target.samefile(photo)):
            raise BadRequest("input-overwritten", path=str(target))
