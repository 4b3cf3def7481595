"""What a job asks for: its request, and the regions of the layer that its pictures make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from c2p_core.api import AUTO, DEFAULT_PROMPT, DEFAULT_STRENGTH, Device, Mode, Part, Profile, ProtectRequest
from c2p_core.errors import BadRequest
from c2p_core.faces.amounts import MAX_AMOUNT, Amounts
from c2p_core.photo import Photo
from c2p_core.profiles import read_default_profile
from c2p_core.worker.job_header import JobHeader
from c2p_core.worker.protocol import Picture
from c2p_core.worker.results import check_selection


@dataclass(frozen=True)
class RegionPictures:
    """A region of the layer to protect: its photo and the optional pictures with the same bounds."""

    photo: Picture
    selection: Picture | None
    original: Picture | None


class NothingVisible(BadRequest):
    """The selection hides the whole change."""


def build_request(header: JobHeader) -> ProtectRequest:
    """Build the request for each region; its values are checked by ``validate``."""
    empty = Photo(np.zeros((1, 1, 3), np.uint8))
    steps = header.integer("steps", 0, 0, 10_000)
    return ProtectRequest(
        empty,
        prompt=header.text("prompt", DEFAULT_PROMPT),
        strength=header.number("strength", DEFAULT_STRENGTH, 0, 1),
        mode=header.word("mode", "dodge", get_args(Mode)),  # type: ignore[arg-type]
        profile=header.word("profile", read_default_profile(), get_args(Profile)),  # type: ignore[arg-type]
        prior=header.text("prior", AUTO),
        clip=header.text("clip", AUTO),
        recognisers=header.names("recognisers") or "auto",
        hold_out=header.text("hold_out", "auto"),
        steps=steps or None,
        seed=header.integer("seed", 0, 0, 2**31 - 1),
        device=header.word("device", "auto", get_args(Device)),  # type: ignore[arg-type]
        keep_expression=header.flag("keep_expression", True),
        locks=header.words("locks", get_args(Part)),  # type: ignore[arg-type]
    )


def read_amounts(header: JobHeader) -> Amounts:
    """How much of what a search finds is applied."""
    return Amounts(*(header.number(name, 1.0, 0.0, MAX_AMOUNT) for name in ("amount", "shape", "light", "makeup")))


def require_one(name: str, pictures: Sequence[Picture]) -> Picture:
    found = [picture for picture in pictures if picture.name == name]
    if len(found) != 1:
        raise BadRequest("pictures-not-one", name=name, count=len(found))
    return found[0]


def group_regions(pictures: Sequence[Picture]) -> list[RegionPictures]:
    """Group the pictures of a job into regions."""
    photos = [picture for picture in pictures if picture.name == "photo"]
    if not photos:
        raise BadRequest("photo-not-sent")

    def find_partner(name: str, photo: Picture) -> Picture | None:
        found = next((p for p in pictures if p.name == name and p.bounds == photo.bounds), None)
        if found is None and any(p.name == name for p in pictures):
            raise BadRequest("partner-not-sent", name=name)
        if found is not None and name == "selection":
            check_selection(found, photo)
        return found

    return [
        RegionPictures(photo, find_partner("selection", photo), find_partner("original", photo)) for photo in photos
    ]
