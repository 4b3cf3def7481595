"""Finds the people of a shoot and brings the files about them up to date (``c2p people``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from c2p_core.errors import Message, NoFace
from c2p_core.io.atomic_files import make_folder, write_whole
from c2p_core.models.store import ModelStore
from c2p_core.people import listing, looks_file, sheet
from c2p_core.people.finding import People, group_people, load_recogniser, see_faces, similarity_threshold
from c2p_core.people.listing import Listing
from c2p_core.people.looks_file import Looks, add_people, read_looks


def update_people(
    photos: Sequence[Path],
    folder: Path,
    store: ModelStore,
    device: torch.device,
    warnings: list[Message],
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[People, Looks]:
    """Find the people on photos; write the list of faces, the contact sheet, and what the looks file lacks.

    Args:
        photos: files.
        folder: of the three files, made where it is missing; what it says of these people already is kept.
        store: has the models.
        device: to compute on.
        warnings: receives messages on photos that can't be read, and on labels that name no face.
        tell: called before each photo with the number of those that are done; may raise to end it, and nothing is
            written.

    Returns:
        who was found, and what the looks file says.

    Raises:
        BadRequest, UnreadableImage: the looks file or the list is not usable.
        NoFace: no photo shows a face that can be protected; nothing is written.
        CannotWrite: one of the files can't be written.
        ModelUnavailable: a model is missing.
    """
    make_folder(folder)
    places = {name: folder / name for name in (looks_file.NAME, listing.NAME, sheet.NAME)}
    looks, before = read_looks(places[looks_file.NAME]), listing.read_listing(places[listing.NAME])
    recogniser = load_recogniser(store, device)
    seen, names = see_faces(photos, folder, store, recogniser, device, warnings, tell)
    if not seen:
        raise NoFace("no-face-in-photos", count=len(photos))
    people = group_people(seen, similarity_threshold(recogniser), looks, before.faces, names)
    warnings += [Message("label-unmatched", label=str(label)) for label in people.unmatched]
    listing.write_listing(places[listing.NAME], Listing(people.photos, people.faces))
    _add_sections(places[looks_file.NAME], {looks.person(face.group) for face in people.faces if face.group})
    listing.write_private(places[sheet.NAME], sheet.draw_sheet(people, looks).encode())
    return people, looks


def _add_sections(path: Path, numbers: set[int]) -> None:
    """Add people to a looks file, which is left alone where it has them all."""
    # As bytes, for line ends stay as they are, too.
    old = path.read_bytes().decode() if path.exists() else ""
    new = add_people(old, numbers)
    if new != old:
        write_whole(path, new.encode())
