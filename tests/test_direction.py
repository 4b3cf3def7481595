"""What a result says of itself: whether a model made up something in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from c2p_core.api import FaceLook, ProtectRequest
from c2p_core.direction import Direction, is_generated
from c2p_core.faces.amounts import AS_FOUND, Amounts
from c2p_core.photo import Photo

PHOTO = Photo(np.zeros((64, 64, 3), np.uint8))
PLAIN = "natural makeup"


@dataclass(frozen=True)
class Numbered:
    """As much of a face and of what was found for it as counts here."""

    number: int

    @property
    def subject(self) -> Numbered:
        return self

    @property
    def face(self) -> Numbered:
        return self


def direction(prompt: str, **options: Any) -> Direction:
    """A finished search of the faces 1 and 2."""
    request = ProtectRequest(PHOTO, prompt=prompt, **{"prior": "makeup"} | options)
    found = cast("Any", (Numbered(1), Numbered(2)))
    return Direction(request, (), found, (), (), cast("Any", None), cast("Any", None), ())


@pytest.mark.parametrize(
    ("options", "amounts", "generated"),
    [
        ({"prompt": "red lipstick"}, AS_FOUND, True),
        ({"prompt": PLAIN}, AS_FOUND, False),
        ({"prompt": "red lipstick"}, Amounts(makeup=0.0), False),
        ({"prompt": PLAIN, "prior": "stylegan2"}, AS_FOUND, True),
        ({"prompt": PLAIN, "looks": (FaceLook(2, "red lipstick"),)}, AS_FOUND, True),
        ({"prompt": "red lipstick", "looks": (FaceLook(1, PLAIN), FaceLook(2, PLAIN))}, AS_FOUND, False),
        ({"prompt": PLAIN, "looks": (FaceLook(3, "red lipstick"),)}, AS_FOUND, False),
    ],
)
def test_paint_on_a_protected_face_counts_as_makeup_but_shape_and_light_do_not(
    options: dict[str, Any], amounts: Amounts, generated: bool
) -> None:
    assert is_generated(direction(**options), amounts) is generated
