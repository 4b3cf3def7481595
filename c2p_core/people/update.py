"""Finds the people of a shoot and brings the files about them up to date (``c2p people``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from c2p_core.errors import Message, NoFace
from c2p_core.io.atomic_files import make_folder, write_whole
from c2p_core.models.store import ModelStore
from c2p_core.people import listing, looks_file, sheet
from c2p_core.people.finding import People, embed_faces, group_people, load_recogniser, similarity_threshold
from c2p_core.people.listing import Listing
from c2p_core.people.looks_file import Looks, add_people, read_looks


def update_people(
    photos: Sequence[Path],
    folder: Path,
    store: ModelStore,
    device: torch.device,
    warnings: list[Message],
    report_progress: Callable[[int], None] = lambda done: None,
) -> tuple[People, Looks]:
    """Find the people on photos; write the list of faces and the contact sheet, and add new people to the looks file.

    Args:
        photos: files.
        folder: of the three files, created if missing; its corrections and numbers are kept.
        store: has the models.
        device: to compute on.
        warnings: receives messages on photos that can't be read, and on labels that name no face.
        report_progress: called before each photo with the number of photos done; may raise to stop, and nothing is
            written.

    Returns:
        the people, and the content of the looks file.

    Raises:
        BadRequest, UnreadableImage: the looks file or the list can't be used.
        NoFace: no photo shows a face that can be protected; nothing is written.
        CannotWrite: one of the files can't be written.
        ModelUnavailable: a model is missing.
    """
    make_folder(folder)
    paths = {name: folder / name for name in (looks_file.NAME, listing.NAME, sheet.NAME)}
    looks, before = read_looks(paths[looks_file.NAME]), listing.read_listing(paths[listing.NAME])
    recogniser = load_recogniser(store, device)
    embedded, names = embed_faces(photos, folder, store, recogniser, device, warnings, report_progress)
    if not embedded:
        raise NoFace("no-face-in-photos", count=len(photos))
    people = group_people(embedded, similarity_threshold(recogniser), looks, before.faces, names)
    warnings += [Message("label-unmatched", label=str(label)) for label in people.unmatched]
    listing.write_listing(paths[listing.NAME], Listing(people.photos, people.faces))
    _add_sections(paths[looks_file.NAME], {looks.resolve_person(face.group) for face in people.faces if face.group})
    listing.write_private(paths[sheet.NAME], sheet.draw_sheet(people, looks).encode())
    return people, looks


def _add_sections(path: Path, numbers: set[int]) -> None:
    """Add people to a looks file; one that has them all is not touched."""
    # As bytes, so that line ends stay as they are, too.
    text = path.read_bytes().decode() if path.exists() else ""
    extended = add_people(text, numbers)
    if extended != text:
        write_whole(path, extended.encode())
