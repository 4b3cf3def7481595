"""Every kind of image and layer that a photographer has: protected, exact elsewhere, in its own precision."""

from __future__ import annotations

import pytest

from tests.host.gimp import Gimp

pytestmark = pytest.mark.host

# What is done to the portrait (``image``, ``source``) before the run.
KINDS = {
    "8 bits": "pass",
    "8 bits, linear": "image.convert_precision(Gimp.Precision.U8_LINEAR)",
    "16 bits": "image.convert_precision(Gimp.Precision.U16_NON_LINEAR)",
    "16 bits, linear": "image.convert_precision(Gimp.Precision.U16_LINEAR)",
    "32 bits": "image.convert_precision(Gimp.Precision.U32_LINEAR)",
    "half float": "image.convert_precision(Gimp.Precision.HALF_NON_LINEAR)",
    "float": "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)",
    "double": "image.convert_precision(Gimp.Precision.DOUBLE_NON_LINEAR)",
    "grey": "image.convert_grayscale()",
    "grey, 16 bits, linear": "image.convert_grayscale(); image.convert_precision(Gimp.Precision.U16_LINEAR)",
    "with alpha": "source.add_alpha()",
    "AdobeRGB": "image.convert_color_profile(Gimp.ColorProfile.new_rgb_adobe(), RELATIVE, True)",
    "AdobeRGB, linear float": (
        "image.convert_color_profile(Gimp.ColorProfile.new_rgb_adobe(), RELATIVE, True);"
        "image.convert_precision(Gimp.Precision.FLOAT_LINEAR)"
    ),
    "layer with an offset": "source.set_offsets(37, -20)",
    "layer larger than the canvas": "image.resize(200, 200, -150, -40)",
    "layer smaller than the canvas": "image.resize(700, 600, 90, 50)",
    "layer in a group": (
        "group = Gimp.GroupLayer.new(image, 'group'); image.insert_layer(group, None, 0);"
        "image.reorder_item(source, group, 0)"
    ),
    "content locked": "source.set_lock_content(True)",
}

ONE_KIND = """
    RELATIVE = Gimp.ColorRenderingIntent.RELATIVE_COLORIMETRIC
    image, source = portrait()
    {kind}
    # GIMP's own compositing of doubles rounds their last bits.
    form = Babl.get_name(Gimp.Layer.new_from_visible(image, image, "x").get_format()).replace("double", "u16")
    before, own = visible(image, form), pixels(source)
    position = image.get_item_position(source)
    status, error = protect(image, source)
    parent = source.get_parent()
    layers = parent.get_children() if parent else image.get_layers()
    result = layers[position]
    after = visible(image, form)
    shown = result.get_mask()
    left, top = list(result.get_offsets())[1:]
    canvas = Gegl.Rectangle.new(-left, -top, image.get_width(), image.get_height())
    mask = pixels(shown, "Y u8", canvas)
    step = len(before) // len(mask)
    same = [before[i * step : (i + 1) * step] == after[i * step : (i + 1) * step] for i in range(len(mask))]
    report(
        status=status, error=error, name=result.get_name(), same_source=own == pixels(source),
        same_place=list(result.get_offsets()) == list(source.get_offsets()),
        same_size=[result.get_width(), result.get_height()] == [source.get_width(), source.get_height()],
        has_alpha=result.has_alpha(), grey=result.is_gray(), should_be_grey=source.is_gray(),
        changed=same.count(False), spoilt=sum(equal is False and not m for equal, m in zip(same, mask)),
    )
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_face_changes_and_nothing_else(gimp: Gimp, kind: str) -> None:
    results = gimp.script(ONE_KIND.replace("{kind}", KINDS[kind])).results
    assert results["status"] == "success", results["error"]
    assert results["name"] == "natural makeup" and results["has_alpha"] and results["grey"] == results["should_be_grey"]
    assert results["same_source"] and results["same_place"] and results["same_size"]
    assert results["changed"] > 1000 and results["spoilt"] == 0


def test_the_whole_layer_is_exact_outside_of_the_face_at_full_precision(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        image.convert_precision(Gimp.Precision.DOUBLE_LINEAR)
        before = pixels(source)
        print(protect(image, source, output="whole"))
        after = pixels(image.get_layers()[0])
        step = len(before) // (SIDE * SIDE)
        length = SIDE * step
        rows = [y for y in range(SIDE) if before[y * length :][:length] != after[y * length :][:length]]
        report(first=rows[0], last=rows[-1])
    """).results
    # The face lies between these rows; any rounding would show in all of them.
    assert results["first"] > 20 and results["last"] < 230


def test_colours_beyond_srgb_are_not_clipped(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        image.set_color_profile(Gimp.ColorProfile.new_rgb_adobe())
        protect(image, source, strength=0.2)
        result = image.get_layers()[0]
        space = Babl.format_get_space(result.get_format())
        inside = pixels(result, Babl.get_name(Babl.format_with_space("R'G'B'A u8", space)))
        original = pixels(source, Babl.get_name(Babl.format_with_space("R'G'B'A u8", space)))
        near = [abs(inside[i] - original[i]) for i in range(0, len(inside), 4) if inside[i + 3]]
        report(mean=sum(near) / len(near))
    """).results
    # Read as sRGB, the reds of an AdobeRGB face would be off by far more than light makeup changes.
    assert results["mean"] < 25


def test_the_selection_limits_the_change_with_its_feather(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 0, 226, SIDE)
        Gimp.Selection.feather(image, 40)
        selection = pixels(image.get_selection(), "Y u8")
        status, error = protect(image, source)
        mask = pixels(image.get_layers()[0].get_mask(), "Y u8")
        wrong = sum(m not in (0, s) for m, s in zip(mask, selection))
        between, kept = sum(0 < m < 255 for m in mask), sum(map(bool, mask))
        report(status=status, error=error, wrong=wrong, between=between, kept=kept)
    """).results
    assert results["status"] == "success", results["error"]
    assert results["wrong"] == 0 and results["between"] > 500 and results["kept"] > 1000


def test_a_layers_own_mask_hides_the_change_too(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        own = source.create_mask(Gimp.AddMaskType.BLACK)
        buffer = own.get_buffer()
        buffer.set(Gegl.Rectangle.new(0, 0, 226, SIDE), "Y u8", bytes([255]) * (226 * SIDE))
        buffer.flush()
        source.add_mask(own)
        before = visible(image)
        status, error = protect(image, source)
        after = visible(image)
        hidden = [after[4 * (y * SIDE + x) + 3] for y in range(60, 180) for x in range(230, 300)]
        report(status=status, error=error, hidden=max(hidden), changed=before != after)
    """).results
    assert results["status"] == "success", results["error"]
    assert results["hidden"] == 0 and results["changed"]


def test_a_group_is_protected_as_it_looks(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        group = Gimp.GroupLayer.new(image, "group")
        image.insert_layer(group, None, 0)
        image.reorder_item(source, group, 0)
        status, error = protect(image, group)
        report(status=status, error=error, names=names(image))
    """).results
    assert results["names"] == ["natural makeup", "group"], results["error"]


@pytest.mark.parametrize("kind", ["layer", "group"])
@pytest.mark.parametrize("output", ["layer", "whole"])
def test_a_layer_with_effects_is_protected_as_it_looks(gimp: Gimp, kind: str, output: str) -> None:
    results = gimp.script(f"""
        image, source = portrait()
        if {kind == "group"}:
            group = Gimp.GroupLayer.new(image, "group")
            image.insert_layer(group, None, 0)
            image.reorder_item(source, group, 0)
            source = group
        effect = Gimp.DrawableFilter.new(source, "gegl:brightness-contrast", "brighter")
        effect.get_config().set_property("brightness", 0.3)
        effect.update()
        source.append_filter(effect)
        own, before = pixels(source), visible(image)
        status, error = protect(image, source, output={output!r}, strength=0.2)
        after = visible(image)
        changed = [abs(a - b) for a, b in zip(after, before) if a != b]
        report(
            status=status, error=error, share=len(changed) / len(before), mean=sum(changed) / max(1, len(changed)),
            same_source=own == pixels(source), effects=len(source.get_filters()), images=len(Gimp.get_images()),
        )
    """).results
    assert results["status"] == "success", results["error"]
    # The effect adds about 60 to every value that is not white yet.
    assert 0.001 < results["share"] < 0.3 and results["mean"] < 20
    assert results["same_source"] and results["effects"] == 1 and results["images"] == 1
