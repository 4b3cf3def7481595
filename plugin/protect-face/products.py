"""One layer per makeup product, in a group that looks like the single layer and can be turned down piece by piece."""

from __future__ import annotations

from collections.abc import Iterable

from gi.repository import Gimp
from worker_client import Picture
from worker_client.errors import Refused
from worker_client.results import translate_product

from layers import Source, check_image, get_position, locate_strips, make_scratch_image
from pixels import Rect, write, write_mask

_MODES = {"normal": Gimp.LayerMode.NORMAL, "hard-light": Gimp.LayerMode.HARDLIGHT}


def build_product_group(
    source: Source, name: str, pictures: Iterable[Picture], visibility: Iterable[tuple[Rect, bytes]]
) -> Gimp.Layer:
    """A group, not yet in the image.

    GIMP fills groups only within an image; this one is filled in a scratch image, so that ending the plug-in at any
    moment never leaves half a group.

    Args:
        source: what was protected.
        name: of the group.
        pictures: the layers from the bottom to the top, as the worker sends them.
        visibility: rectangles of the source, and for each how visible the group is there, one byte a pixel; read after
            all pictures have been used.

    Raises:
        Refused: as ``check_image``, or GIMP refuses one of the layers.
    """
    check_image(source)
    scratch = make_scratch_image(source.image, 1, 1)
    try:
        group = Gimp.GroupLayer.new(scratch, name)
        scratch.insert_layer(group, None, 0)
        for picture in pictures:
            if not scratch.insert_layer(_build_layer(source, scratch, picture), group, 0):
                raise Refused("layer-not-inserted")
        _known, left, top = group.get_offsets()
        mask = group.create_mask(Gimp.AddMaskType.BLACK)
        buffer = mask.get_buffer()
        for rect, visible in visibility:
            write_mask(buffer, rect.translate(-left, -top), visible, source.form.depth)
        buffer.flush()
        group.add_mask(mask)
        group.set_edit_mask(False)
        layer = Gimp.Layer.new_from_drawable(group, source.image)
    finally:
        scratch.delete()
    x, y = get_position(source)
    layer.set_offsets(x + left, y + top)
    layer.set_name(name)
    layer.set_opacity(source.opacity)
    return layer


def _build_layer(source: Source, scratch: Gimp.Image, picture: Picture) -> Gimp.Layer:
    """A layer as large as its picture, blended as the worker computed it: in the encoding that was sent."""
    # If the image has become grey meanwhile, GIMP converts it.
    kind = Gimp.ImageType.GRAYA_IMAGE if source.form.channels < 3 else Gimp.ImageType.RGBA_IMAGE
    name = translate_product(picture)
    layer = Gimp.Layer.new(scratch, name, picture.width, picture.height, kind, 100, Gimp.LayerMode.NORMAL)
    layer.set_offsets(picture.x, picture.y)
    buffer = layer.get_buffer()
    for rect, strip in locate_strips(picture):
        inner = rect.translate(-picture.x, -picture.y)
        write(buffer, inner, source.form.with_alpha, strip, picture.row_bytes // picture.width)
    buffer.flush()
    # "~" is sRGB's curve, which is not that of a linear image.
    space = Gimp.LayerColorSpace.RGB_PERCEPTUAL if "~" in source.form.name else Gimp.LayerColorSpace.RGB_NON_LINEAR
    layer.set_mode(_MODES[picture.about["mode"]])
    layer.set_blend_space(space)
    layer.set_composite_space(space)
    if picture.about["mode"] != "normal":
        layer.set_composite_mode(Gimp.LayerCompositeMode.CLIP_TO_BACKDROP)
    return layer
