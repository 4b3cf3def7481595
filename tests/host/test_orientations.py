"""Photos of cameras that were held in any way: GIMP turns them when it opens them, or leaves them as they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.host.gimp import Gimp
from tests.orientations import UPRIGHT

pytestmark = pytest.mark.host

WIDTH, HEIGHT = 320, 280
# How a photo is stored that has an orientation.
STORED = UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

# GIMP turns a photo that a script loads only when it is told to.
RUNS = """
    sizes = []
    for number in range(1, 9):
        image = load(f"turned-{number}.jpg")
        if {turns}:
            image.policy_rotate(False)
        source = image.get_layers()[0]
        status, error = protect(image, source)
        assert status == "success", error
        result = image.get_layers()[0]
        sizes.append([result.get_width(), result.get_height(), *list(result.get_offsets())[1:]])
        (SHARE / f"mask-{number}").write_bytes(pixels(result.get_mask(), "Y u8"))
        image.delete()
    report(sizes=sizes)
"""


@pytest.mark.parametrize("turns", [False, True], ids=["left as it is", "turned by GIMP"])
def test_the_protected_layer_lies_on_the_face_in_all_eight_orientations(gimp: Gimp, turns: bool) -> None:
    photo = Image.fromarray(data.astronaut()[:HEIGHT, :WIDTH])
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        stored = photo.transpose(STORED[number]) if number in STORED else photo
        stored.save(gimp.share / f"turned-{number}.jpg", exif=exif, quality=95)
    sizes = gimp.script(RUNS.replace("{turns}", str(turns))).results["sizes"]
    masks = []
    for number, (width, height, x, y) in enumerate(sizes, 1):
        assert (width, height) == ((WIDTH, HEIGHT) if turns or number < 5 else (HEIGHT, WIDTH))
        assert (x, y) == (0, 0)
        mask = Image.frombytes("L", (width, height), (gimp.share / f"mask-{number}").read_bytes())
        masks.append(np.asarray(mask if turns or number not in UPRIGHT else mask.transpose(UPRIGHT[number])) > 0)
    rows, columns = np.nonzero(masks[0])
    # The astronaut's face.
    assert 60 < rows.mean() < 170 and 180 < columns.mean() < 270
    for number, mask in enumerate(masks, 1):
        assert (mask & masks[0]).sum() > 0.8 * (mask | masks[0]).sum(), number
