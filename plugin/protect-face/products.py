"""One layer per makeup product, in a group that looks like the single layer and can be turned down piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gi.repository import Gimp
from worker_client import Picture
from worker_client.parts import product_name

from layers import Source, new_layer, place_of, strips_of
from pixels import Rect, write, write_mask

_MODES = {"normal": Gimp.LayerMode.NORMAL, "hard-light": Gimp.LayerMode.HARDLIGHT}


def product_group(
    source: Source, name: str, pictures: Sequence[Picture], shown: Sequence[tuple[Rect, bytes]]
) -> tuple[Gimp.GroupLayer, Callable[[], None]]:
    """A group, not yet in the image, and what fills it as soon as it is.

    Args:
        source: what was protected.
        name: of the group.
        pictures: the layers from the bottom to the top, as the worker sends them.
        shown: rectangles of the source, and for each how far the group is to be seen there, one byte a pixel.
    """
    made = [_layer(source, picture) for picture in pictures]
    group = Gimp.GroupLayer.new(source.image, name)
    group.set_opacity(source.opacity)
    origin = place_of(source)

    def fill() -> None:
        for layer in made:
            source.image.insert_layer(layer, group, 0)
        _known, left, top = group.get_offsets()
        mask = group.create_mask(Gimp.AddMaskType.BLACK)
        buffer = mask.get_buffer()
        for rect, visible in shown:
            write_mask(buffer, rect.moved(origin[0] - left, origin[1] - top), visible, source.form.depth)
        buffer.flush()
        group.add_mask(mask)
        group.set_edit_mask(False)

    return group, fill


def _layer(source: Source, picture: Picture) -> Gimp.Layer:
    """A layer as large as its picture, blended as the worker computed it: in the numbers that travelled."""
    layer = new_layer(source, product_name(picture), picture.width, picture.height)
    left, top = place_of(source)
    layer.set_offsets(left + picture.x, top + picture.y)
    buffer = layer.get_buffer()
    for rect, strip in strips_of(picture):
        there = rect.moved(-picture.x, -picture.y)
        write(buffer, there, source.form.with_alpha, strip, picture.row_bytes // picture.width)
    buffer.flush()
    # "~" is sRGB's curve, which is not that of a linear image.
    space = Gimp.LayerColorSpace.RGB_PERCEPTUAL if "~" in source.form.name else Gimp.LayerColorSpace.RGB_NON_LINEAR
    layer.set_mode(_MODES[picture.about["mode"]])
    layer.set_blend_space(space)
    layer.set_composite_space(space)
    if picture.about["mode"] != "normal":
        layer.set_composite_mode(Gimp.LayerCompositeMode.CLIP_TO_BACKDROP)
    return layer
