"""One layer per makeup product: the group looks like the single layer, and each product can be turned down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.host.gimp import Gimp

pytestmark = pytest.mark.host

BOTH = """
    def both(prepare):
        shown = []
        for output in ("layer", "products"):
            image, source = portrait()
            prepare(image, source)
            status, error = protect(image, source, prompt="red lipstick and smoky eyes", output=output, steps=3)
            assert status == "success", error
            shown.append(visible(image))
        return image, image.get_layers()[0], shown

    def worst(shown):
        return max(abs(a - b) for a, b in zip(*shown))

"""


@pytest.fixture(scope="module")
def results(gimp: Gimp) -> dict[str, Any]:
    return gimp.script(
        BOTH
        + """
    image, group, shown = both(lambda image, source: None)
    (lipstick,) = [layer for layer in group.get_children() if layer.get_name() == "Lipstick"]
    left, top = list(lipstick.get_offsets())[1:]
    box = [left, top, left + lipstick.get_width(), top + lipstick.get_height()]
    lipstick.set_visible(False)
    without = visible(image)
    where = [i // 4 for i, (a, b) in enumerate(zip(shown[1], without)) if a != b]
    outside = [i for i in where if not (box[0] <= i % SIDE < box[2] and box[1] <= i // SIDE < box[3])]
    report(
        name=group.get_name(), children=[layer.get_name() for layer in group.get_children()], worst=worst(shown),
        mask=group.get_mask() is not None, parasite=group.get_parasite("protect-face") is not None,
        names=names(image), changed=len(set(where)), outside=len(outside),
    )
    """
    ).results


def test_the_group_shows_what_the_single_layer_shows(results: dict[str, Any]) -> None:
    assert results["worst"] <= 1
    assert results["names"][0] == results["name"] == "red lipstick and smoky eyes" and len(results["names"]) == 2
    assert results["children"][-1] == "Reshaped skin" and {"Lipstick", "Eyeshadow"} <= set(results["children"])
    assert results["mask"] and results["parasite"]


def test_a_product_can_be_turned_off_and_the_others_stay(results: dict[str, Any]) -> None:
    assert results["changed"] > 20 and results["outside"] == 0


@pytest.mark.parametrize(
    "prepare",
    [
        "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)",
        "(image.convert_grayscale(), source.set_offsets(40, -10))",
        "(image.select_ellipse(Gimp.ChannelOps.REPLACE, 180, 60, 60, 120), Gimp.Selection.feather(image, 20))",
    ],
)
def test_the_group_shows_the_same_in_other_images(gimp: Gimp, prepare: str) -> None:
    results = gimp.script(
        BOTH + f"    image, group, shown = both(lambda image, source: {prepare})\n    report(worst=worst(shown))"
    ).results
    assert results["worst"] <= 1
