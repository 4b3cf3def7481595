"""Builds the request of a job from its header, and groups its pictures into areas of the layer."""

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
class AreaPictures:
    """An area of the layer to protect: its photo, and the optional pictures with the same bounds."""

    photo: Picture
    selection: Picture | None
    original: Picture | None


class NothingVisible(BadRequest):
    """The selection hides the whole change."""


def build_request(header: JobHeader) -> ProtectRequest:
    """Build the request for each area; its values are checked by ``validate``."""
    empty = Photo(np.zeros((1, 1, 3), np.uint8))
    steps = header.read_integer("steps", 0, 0, 10_000)
    return ProtectRequest(
        empty,
        prompt=header.read_text("prompt", DEFAULT_PROMPT),
        strength=header.read_number("strength", DEFAULT_STRENGTH, 0, 1),
        mode=header.read_choice("mode", "dodge", get_args(Mode)),  # type: ignore[arg-type]
        profile=header.read_choice("profile", read_default_profile(), get_args(Profile)),  # type: ignore[arg-type]
        prior=header.read_text("prior", AUTO),
        clip=header.read_text("clip", AUTO),
        recognisers=header.read_names("recognisers") or "auto",
        hold_out=header.read_text("hold_out", "auto"),
        steps=steps or None,
        seed=header.read_integer("seed", 0, 0, 2**31 - 1),
        device=header.read_choice("device", "auto", get_args(Device)),  # type: ignore[arg-type]
        keep_expression=header.read_flag("keep_expression", True),
        locks=header.read_choices("locks", get_args(Part)),  # type: ignore[arg-type]
    )


def read_amounts(header: JobHeader) -> Amounts:
    """Read how strongly the found change is applied."""
    return Amounts(*(header.read_number(name, 1.0, 0.0, MAX_AMOUNT) for name in ("amount", "shape", "light", "makeup")))


def require_one(name: str, pictures: Sequence[Picture]) -> Picture:
    matches = [picture for picture in pictures if picture.name == name]
    if len(matches) != 1:
        raise BadRequest("pictures-not-one", name=name, count=len(matches))
    return matches[0]


def group_areas(pictures: Sequence[Picture]) -> list[AreaPictures]:
    """Group the pictures of a job into areas."""
    photos = [picture for picture in pictures if picture.name == "photo"]
    if not photos:
        raise BadRequest("photo-not-sent")

    def find_partner(name: str, photo: Picture) -> Picture | None:
        partner = next((p for p in pictures if p.name == name and p.bounds == photo.bounds), None)
        if partner is None and any(p.name == name for p in pictures):
            raise BadRequest("partner-not-sent", name=name)
        if partner is not None and name == "selection":
            check_selection(partner, photo)
        return partner

    return [AreaPictures(photo, find_partner("selection", photo), find_partner("original", photo)) for photo in photos]
