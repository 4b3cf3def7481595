"""Which layer is meant, what of it travels, and the new layer that comes of it.

GIMP lets the user edit the image while the worker searches. So what is needed is copied at the start (``Source``,
``Patch``), the result is built aside, and the image is only touched by one insertion at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gi.repository import Babl, Gegl, Gimp

from pixels import (
    MASK_FORMAT,
    Format,
    Rect,
    changed,
    cut_out,
    extent,
    merge,
    read,
    strips,
    times,
    travel_format,
    write,
)
from texts import Refused, _

PARASITE = "protect-face"


@dataclass(frozen=True)
class Source:
    """The layer to protect, as it was when the run began.

    Attributes:
        layer: valid at the start only; ``still_there`` looks it up again.
        area: its size, at (0, 0).
        offset: of the layer in the image.
        opacity: in percent.
    """

    image: Gimp.Image
    layer: Gimp.Layer
    tattoo: int
    form: Format
    area: Rect
    offset: tuple[int, int]
    opacity: float

    def still_there(self) -> Gimp.Layer | None:
        """The layer, unless it was deleted or the image closed."""
        layer = self.image.get_layer_by_tattoo(self.tattoo) if self.image.is_valid() else None
        return layer if layer is not None and layer.is_valid() else None


@dataclass(frozen=True)
class Patch:
    """A rectangle that travels.

    Attributes:
        rect: in pixels of the layer.
        before: its bytes in the travel format.
        limit: one byte a pixel, where the selection and the layer's own mask let a change show; None for everywhere.
    """

    rect: Rect
    before: bytes
    limit: bytes | None


def source_of(image: Gimp.Image, drawables: Sequence[Gimp.Drawable]) -> Source:
    """The one layer that a procedure was called with.

    Raises:
        Refused: there are none or several, it is no layer, or its kind can't be worked on.
    """
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise Refused(_("An indexed image has too few colours; choose Image > Mode > RGB and try again."))
    if image.get_floating_sel() is not None:
        raise Refused(_("There is a floating selection; anchor it or make it a layer and try again."))
    if len(drawables) != 1:
        raise Refused(_("Select exactly one layer, the one with the photo, and try again."))
    layer = drawables[0]
    if not isinstance(layer, Gimp.Layer):
        raise Refused(_("A mask or channel can't be protected; select the layer with the photo and try again."))
    _known, x, y = layer.get_offsets()
    return Source(image, layer, layer.get_tattoo(), travel_format(layer), extent(layer), (x, y), layer.get_opacity())


def take(source: Source, rect: Rect) -> Patch:
    """Copies a rectangle of the layer and what limits the change in it."""
    before = b"".join(
        read(source.layer.get_buffer(), strip, source.form.name) for strip in strips(rect, source.form.pixel_bytes)
    )
    limit = None
    if not Gimp.Selection.is_empty(source.image):
        limit = selected(source, rect)
    mask = source.layer.get_mask()
    if mask is not None and source.layer.get_apply_mask():
        hidden = read(mask.get_buffer(), rect, MASK_FORMAT)
        limit = hidden if limit is None else times(hidden, limit)
    return Patch(rect, before, limit)


def selected(source: Source, rect: Rect) -> bytes:
    """The selection over a rectangle of the layer, one byte a pixel; 0 outside of the canvas."""
    return read(source.image.get_selection().get_buffer(), rect.moved(*source.offset), MASK_FORMAT)


def result_layer(source: Source, name: str, patches: Sequence[Patch], after: Sequence[bytes]) -> Gimp.Layer:
    """A layer, not yet in the image, that shows the changed pixels and nothing else.

    Args:
        source: what was protected.
        name: of the new layer.
        patches: what was sent, none overlapping another.
        after: the bytes that came back for each of them.
    """
    layer = _empty_layer(source, name)
    mask = layer.create_mask(Gimp.AddMaskType.BLACK)
    pixels, shown = layer.get_buffer(), mask.get_buffer()
    for patch, bytes_after in zip(patches, after, strict=True):
        for strip, old, new, limit in _bands(source.form, patch, bytes_after):
            touched = changed(old, new, source.form.pixel_bytes)
            write(pixels, strip, source.form.name, cut_out(new, touched, source.form.pixel_bytes), source.form.pixel_bytes)
            write(shown, strip, MASK_FORMAT, touched if limit is None else times(touched, limit), 1)
    return _finish(layer, pixels, mask, shown)


def whole_layer(source: Source, name: str, patches: Sequence[Patch], after: Sequence[bytes]) -> Gimp.Layer:
    """A layer, not yet in the image, that is a full copy with the changed pixels in it; arguments as above.

    It has a mask only where the selection or the source's mask asks for one. When the source was deleted or resized
    meanwhile there is nothing to copy, and only the changed pixels are shown.
    """
    original = source.still_there()
    if original is None or extent(original) != source.area:
        return result_layer(source, name, patches, after)
    layer = _empty_layer(source, name)
    pixels = layer.get_buffer()
    original.get_buffer().copy(source.area.gegl(), Gegl.AbyssPolicy.NONE, pixels, source.area.gegl())
    own = original.get_mask() if original.get_apply_mask() else None
    mask = shown = None
    if own is not None or any(patch.limit is not None for patch in patches):
        mask = layer.create_mask(Gimp.AddMaskType.WHITE)
        shown = mask.get_buffer()
        if own is not None:
            own.get_buffer().copy(source.area.gegl(), Gegl.AbyssPolicy.NONE, shown, source.area.gegl())
    native, native_bytes = _native(layer)
    for patch, bytes_after in zip(patches, after, strict=True):
        for strip, old, new, limit in _bands(source.form, patch, bytes_after):
            touched = changed(old, new, source.form.pixel_bytes)
            # Only changed pixels may pass through the travel format: the others stay exact at every precision.
            kept = read(pixels, strip, native)
            write(pixels, strip, source.form.name, new, source.form.pixel_bytes)
            write(pixels, strip, native, merge(kept, read(pixels, strip, native), touched, native_bytes), native_bytes)
            if shown is not None and limit is not None:
                write(shown, strip, MASK_FORMAT, merge(read(shown, strip, MASK_FORMAT), limit, touched, 1), 1)
    return _finish(layer, pixels, mask, shown)


def insert(source: Source, layer: Gimp.Layer) -> None:
    """Puts a finished layer above its source as one undo step.

    Raises:
        Refused: the image is no longer there or has become indexed.
    """
    image = source.image
    if not image.is_valid():
        raise Refused(_("The image was closed during the run; open it and try again."))
    below = source.still_there()
    parent, position = (below.get_parent(), image.get_item_position(below)) if below is not None else (None, 0)
    image.undo_group_start()
    try:
        if not image.insert_layer(layer, parent, position):
            raise Refused(_("GIMP would not insert the new layer; unlock the layer group and try again."))
        image.set_selected_layers([layer])
    finally:
        image.undo_group_end()


def remember(layer: Gimp.Layer, settings: dict[str, Any]) -> None:
    """Keeps the settings of the run with the layer, in the XCF file too."""
    flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
    layer.attach_parasite(Gimp.Parasite.new(PARASITE, flags, json.dumps(settings).encode()))


def remembered(layer: Gimp.Layer) -> dict[str, Any] | None:
    """The settings of the run that made the layer, None when it was none of ours."""
    parasite = layer.get_parasite(PARASITE)
    if parasite is None:
        return None
    try:
        settings = json.loads(bytes(parasite.get_data()))
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None


def _empty_layer(source: Source, name: str) -> Gimp.Layer:
    image = source.image
    if not image.is_valid():
        raise Refused(_("The image was closed during the run; open it and try again."))
    kinds = {Gimp.ImageBaseType.RGB: Gimp.ImageType.RGBA_IMAGE, Gimp.ImageBaseType.GRAY: Gimp.ImageType.GRAYA_IMAGE}
    kind = kinds.get(image.get_base_type())
    if kind is None:
        raise Refused(_("The image became indexed during the run; choose Image > Mode > RGB and try again."))
    area, mode = source.area, Gimp.LayerMode.NORMAL
    layer = Gimp.Layer.new(image, name, area.width, area.height, kind, source.opacity, mode)
    original = source.still_there()
    offset = source.offset
    if original is not None:
        _known, *offset = original.get_offsets()
    layer.set_offsets(*offset)
    return layer


def _bands(form: Format, patch: Patch, after: bytes) -> Iterator[tuple[Rect, bytes, bytes, bytes | None]]:
    """Strips of a patch: where, the bytes before, the bytes after and the limit."""
    start = 0
    for strip in strips(patch.rect, form.pixel_bytes):
        end = start + strip.width * strip.height
        span = slice(start * form.pixel_bytes, end * form.pixel_bytes)
        yield strip, patch.before[span], after[span], None if patch.limit is None else patch.limit[start:end]
        start = end


def _native(layer: Gimp.Layer) -> tuple[str, int]:
    """The layer's own format: its name and bytes per pixel."""
    form = layer.get_format()
    return Babl.get_name(form), Babl.format_get_bytes_per_pixel(form)


def _finish(
    layer: Gimp.Layer, pixels: Gegl.Buffer, mask: Gimp.LayerMask | None, shown: Gegl.Buffer | None
) -> Gimp.Layer:
    pixels.flush()
    if mask is not None and shown is not None:
        shown.flush()
        layer.add_mask(mask)
        layer.set_edit_mask(False)  # or the user would paint on the mask
    return layer
