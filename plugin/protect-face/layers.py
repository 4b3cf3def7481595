"""The layer to protect, the pixels of it that are sent, and the new layer with the result.

GIMP lets the user edit the image while the worker searches. Therefore everything needed is recorded at the start
(``Source``, ``read_limit``), the result is built outside the image, and one insertion at the end changes the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gi.repository import Babl, Gegl, Gimp
from worker_client import Picture
from worker_client.errors import Refused
from worker_client.pixel_ops import mask_with_alpha, merge, multiply_masks
from worker_client.settings import PARASITE, WHOLE_LAYER, find_origin, replaces, unpack_run_record

from masks import Mask, apply_limit
from pixels import (
    MASK_FORMAT,
    Format,
    Rect,
    Sample,
    get_extent,
    get_travel_format,
    is_turned,
    merge_mask,
    read,
    sample,
    split_into_strips,
    write,
    write_mask,
)


@dataclass(frozen=True)
class Source:
    """The layer to protect, as it was when the run began.

    Attributes:
        layer: valid at the start only; ``find_layer`` looks it up again.
        area: its size, at (0, 0).
        sample: a few of its pixels, which show whether it was flipped or rotated.
        offset: of the layer in the image.
        opacity: in percent.
        above: tattoo of the layer that the result goes above.
    """

    image: Gimp.Image
    layer: Gimp.Layer
    tattoo: int
    form: Format
    area: Rect
    sample: Sample
    offset: tuple[int, int]
    opacity: float
    base_type: Gimp.ImageBaseType
    above: int

    def find_layer(self) -> Gimp.Layer | None:
        """The layer, unless it was deleted or the image closed."""
        return self._find_by_tattoo(self.tattoo)

    def find_layer_below(self) -> Gimp.Layer | None:
        """The layer that the result is inserted above, unless it is gone."""
        return self._find_by_tattoo(self.above)

    def _find_by_tattoo(self, tattoo: int) -> Gimp.Layer | None:
        layer = self.image.get_layer_by_tattoo(tattoo) if self.image.is_valid() else None
        return layer if layer is not None and layer.is_valid() else None


@dataclass(frozen=True)
class ChangedArea:
    """A rectangle that the worker returned.

    Attributes:
        pixels: in the format in which they were sent.
        changed: 255 where a pixel differs from what was sent and 0 elsewhere.
        limit: where the selection and the layer's own mask let a change show, as it was when the run began; None for
            everywhere.
    """

    pixels: Picture
    changed: Mask
    limit: Mask | None

    def iterate_bands(self) -> Iterator[tuple[Rect, bytes, bytes, bytes]]:
        """Strip by strip, once: rectangle, pixels, which of them changed, and how visible they are."""
        for rect, strip in locate_strips(self.pixels):
            changed = self.changed.crop(rect)
            yield rect, strip, changed, apply_limit(rect, changed, self.limit)


def locate_strips(picture: Picture) -> Iterator[tuple[Rect, bytes]]:
    """A received picture's strips, each with its rectangle."""
    top = picture.y
    for strip in picture.strips:
        rows = len(strip) // picture.row_bytes
        yield Rect(picture.x, top, picture.width, rows), strip
        top += rows


def make_source(image: Gimp.Image, drawables: Sequence[Gimp.Drawable]) -> Source:
    """The one layer that a procedure was called with.

    Raises:
        Refused: there are none or several, it is not a layer, it is gone, or its type is not supported.
    """
    if not image.is_valid():
        raise Refused("image-closed")
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise Refused("image-indexed")
    if image.get_floating_sel() is not None:
        raise Refused("floating-selection")
    if len(drawables) != 1:
        raise Refused("not-one-layer")
    layer = drawables[0]
    if not layer.is_valid():
        raise Refused("layer-deleted")
    if not isinstance(layer, Gimp.Layer):
        raise Refused("no-layer")
    _known, x, y = layer.get_offsets()
    return Source(
        image,
        layer,
        layer.get_tattoo(),
        get_travel_format(layer),
        get_extent(layer),
        sample(layer),
        (x, y),
        layer.get_opacity(),
        image.get_base_type(),
        layer.get_tattoo(),
    )


def find_photo(image: Gimp.Image, drawables: Sequence[Gimp.Drawable]) -> Source:
    """The layer to protect: the selected one, or the photo that a selected result of ours was made from.

    GIMP selects a new result; protecting its few pixels once more is never intended. The new result goes above every
    earlier one, which would otherwise hide it.

    Raises:
        Refused: as ``make_source``, or the photo is unknown.
    """
    photo = make_source(image, drawables)
    for layer in walk_up(photo.layer):
        record = read_run_record(layer)
        origin = find_origin(image, record)
        if origin is not None:
            photo = make_source(image, [origin])
            break
        if record is not None and record["requested"].get("output") != WHOLE_LAYER:
            raise Refused("source-unknown")
    return replace(photo, above=_find_topmost(photo))


@contextmanager
def as_shown(layer: Gimp.Layer) -> Iterator[Gegl.Buffer]:
    """The pixels of a layer as its effects show them, without its mask, opacity and mode.

    A layer's own buffer lacks its effects, so a copy is rendered; the layer itself is not changed.
    """
    if not any(effect.get_visible() for effect in layer.get_filters()):
        yield layer.get_buffer()
        return
    scratch = make_scratch_image(layer.get_image(), *get_extent(layer).size)
    try:
        copy = Gimp.Layer.new_from_drawable(layer, scratch)
        scratch.insert_layer(copy, None, 0)
        if copy.get_mask() is not None:
            copy.remove_mask(Gimp.MaskApplyMode.DISCARD)
        copy.set_offsets(0, 0)
        copy.set_opacity(100)
        copy.set_mode(Gimp.LayerMode.NORMAL)
        copy.set_visible(True)
        # Groups can't merge their effects, and effects may reach beyond the layer; rendering the image handles both.
        merged = Gimp.Layer.new_from_visible(scratch, scratch, "")
        scratch.insert_layer(merged, None, 0)
        yield merged.get_buffer()
    finally:
        scratch.delete()


def make_scratch_image(image: Gimp.Image, width: int, height: int) -> Gimp.Image:
    """An image without a display, with the same base type, precision and colour profile."""
    scratch = Gimp.Image.new_with_precision(width, height, image.get_base_type(), image.get_precision())
    profile = image.get_color_profile()
    if profile is not None:
        scratch.set_color_profile(profile)
    return scratch


def read_limit(source: Source, rect: Rect) -> Mask | None:
    """How far selection and layer mask let a change of a rectangle show; None for fully."""
    selection = None if Gimp.Selection.is_empty(source.image) else read_selection(source, rect)
    layer_mask = source.layer.get_mask()
    if layer_mask is None or not source.layer.get_apply_mask():
        return None if selection is None else Mask(rect, selection)
    buffer = layer_mask.get_buffer()
    mask = (read(buffer, strip, MASK_FORMAT) for strip in split_into_strips(rect, 1))
    return Mask(rect, mask if selection is None else map(multiply_masks, selection, mask))


def read_selection(source: Source, rect: Rect) -> Iterator[bytes]:
    """The selection over a rectangle of the layer in strips, one byte per pixel; 0 outside of the canvas."""
    buffer = source.image.get_selection().get_buffer()
    return (read(buffer, strip.translate(*source.offset), MASK_FORMAT) for strip in split_into_strips(rect, 1))


def build_result_layer(source: Source, name: str, areas: Iterable[ChangedArea]) -> Gimp.Layer:
    """A layer, not yet in the image, that shows the changed pixels and nothing else."""
    layer = _make_empty_layer(source, name)
    mask = layer.create_mask(Gimp.AddMaskType.BLACK)
    pixels, mask_buffer = layer.get_buffer(), mask.get_buffer()
    form = source.form
    for area in areas:
        for rect, strip, changed, visible in area.iterate_bands():
            # Strengthened pixels come from the visible image, which has alpha where the source has none.
            cut = mask_with_alpha(strip, changed, area.pixels.channels, form.depth)
            write(pixels, rect, form.with_alpha, cut, len(cut) // len(changed))
            write_mask(mask_buffer, rect, visible, form.depth)
    return _finish(layer, pixels, mask, mask_buffer)


def build_whole_layer(source: Source, name: str, areas: Iterable[ChangedArea]) -> Gimp.Layer:
    """A layer, not yet in the image, that is a full copy with the changed pixels in it.

    It has a mask only if the selection or the source's mask requires one. If the source was deleted meanwhile, there is
    nothing to copy, and only the changed pixels are shown.
    """
    check_image(source)
    original = source.find_layer()
    if original is None:
        return build_result_layer(source, name, areas)
    layer = _make_empty_layer(source, name, original.type())
    pixels = layer.get_buffer()
    with as_shown(original) as buffer:
        buffer.copy(source.area.to_gegl(), Gegl.AbyssPolicy.NONE, pixels, source.area.to_gegl())
    source_mask = original.get_mask() if original.get_apply_mask() else None
    mask = mask_buffer = None
    if source_mask is not None:
        mask = layer.create_mask(Gimp.AddMaskType.WHITE)
        mask_buffer = mask.get_buffer()
        source_mask.get_buffer().copy(source.area.to_gegl(), Gegl.AbyssPolicy.NONE, mask_buffer, source.area.to_gegl())
    native, native_bytes = _get_native_format(layer)
    form = source.form
    for area in areas:
        for rect, strip, changed, visible in area.iterate_bands():
            # Only changed pixels may pass through the travel format: the others stay exact at every precision.
            unchanged = read(pixels, rect, native)
            write(pixels, rect, form.name, strip, form.pixel_bytes)
            write(
                pixels, rect, native, merge(unchanged, read(pixels, rect, native), changed, native_bytes), native_bytes
            )
            if mask_buffer is None and visible != changed:
                mask = layer.create_mask(Gimp.AddMaskType.WHITE)
                mask_buffer = mask.get_buffer()
            if mask_buffer is not None:
                merge_mask(mask_buffer, rect, visible, changed, form.depth)
    return _finish(layer, pixels, mask, mask_buffer)


def insert(source: Source, layer: Gimp.Layer, on_top: bool = False) -> None:
    """Inserts a finished layer at its place as one undo step; if anything fails, the image is as before.

    Earlier results that it replaces are hidden, unless it goes above everything: only the new one was measured.

    Args:
        source: what was protected; if the layer that the new one goes above is gone, it goes to the top.
        layer: to insert.
        on_top: insert it above everything instead.

    Raises:
        Refused: the image is gone, or GIMP refuses the layer.
    """
    image = source.image
    if not image.is_valid():
        raise Refused("image-closed")
    below = None if on_top else source.find_layer_below()
    parent, position = (below.get_parent(), image.get_item_position(below)) if below is not None else (None, 0)
    with ExitStack() as cleanup:
        image.undo_group_start()
        cleanup.callback(image.undo_group_end)
        if not image.insert_layer(layer, parent, position):
            raise Refused("layer-not-inserted")
        with ExitStack() as rollback:
            rollback.callback(image.remove_layer, layer)
            for earlier in [] if on_top else _list_replaced_layers(image, layer):
                rollback.callback(earlier.set_visible, True)
                earlier.set_visible(False)
            image.set_selected_layers([layer])
            rollback.pop_all()


def attach_run_record(layer: Gimp.Layer, record: str) -> None:
    """Keeps ``worker_client.settings.pack_run_record`` of the run with the layer, in the XCF file too."""
    flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
    layer.attach_parasite(Gimp.Parasite.new(PARASITE, flags, record.encode()))


def read_run_record(layer: Gimp.Layer) -> dict[str, Any] | None:
    """The record of the run that made the layer; None if there is none or it is damaged."""
    parasite = layer.get_parasite(PARASITE)
    return None if parasite is None else unpack_run_record(bytes(parasite.get_data()), layer.get_tattoo())


def list_run_records(image: Gimp.Image) -> list[dict[str, Any]]:
    """The records of the runs whose results are in the image, from the top."""
    return [record for layer in walk_layers(image.get_layers()) if (record := read_run_record(layer))]


def walk_up(layer: Gimp.Layer | None) -> Iterator[Gimp.Layer]:
    """A layer, and the groups that it is in."""
    while layer is not None:
        yield layer
        layer = layer.get_parent()


def walk_layers(layers: list[Gimp.Layer]) -> Iterator[Gimp.Layer]:
    """Layers and those in their groups, from the top."""
    for layer in layers:
        yield layer
        if isinstance(layer, Gimp.GroupLayer):
            yield from walk_layers(layer.get_children())


def check_image(source: Source) -> None:
    """Checks that a new layer can be inserted into the image.

    Raises:
        Refused: the image was closed or has become indexed, or the source was resized, flipped or rotated.
    """
    if not source.image.is_valid():
        raise Refused("image-closed")
    if source.image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        raise Refused("image-became-indexed")
    layer = source.find_layer()
    if layer is not None and get_extent(layer) != source.area:
        raise Refused("layer-resized")
    if layer is not None and is_turned(source.sample, sample(layer)):
        raise Refused("layer-turned")


def check_there(source: Source) -> None:
    """Checks that the source can still be read.

    Raises:
        Refused: as ``check_image``, or the source was deleted.
    """
    check_image(source)
    if source.find_layer() is None:
        raise Refused("layer-deleted")


def get_position(source: Source) -> tuple[int, int]:
    """The source's offset in the image, the last known one if it is gone."""
    layer = source.find_layer()
    if layer is None:
        return source.offset
    _known, x, y = layer.get_offsets()
    return x, y


def _find_topmost(photo: Source) -> int:
    """Tattoo of the topmost among a photo and the results of earlier runs on it."""
    for layer in walk_layers(photo.image.get_layers()):
        record = read_run_record(layer)
        if layer.get_tattoo() == photo.tattoo or (record is not None and record["source"] == photo.tattoo):
            return layer.get_tattoo()
    return photo.tattoo


def _list_replaced_layers(image: Gimp.Image, layer: Gimp.Layer) -> list[Gimp.Layer]:
    """The visible results that a new one makes useless."""
    new = read_run_record(layer)
    others = (other for other in walk_layers(image.get_layers()) if other.get_id() != layer.get_id())
    visible = (other for other in others if other.get_visible())
    return [other for other in visible if new and (old := read_run_record(other)) and replaces(new, old)]


def _make_empty_layer(source: Source, name: str, like: Gimp.ImageType | None = None) -> Gimp.Layer:
    """A layer of the source's size, place and opacity: of type ``like`` if that still fits, else with alpha.

    Raises:
        Refused: as ``check_image``.
    """
    check_image(source)
    base = source.image.get_base_type()
    kind = Gimp.ImageType.GRAYA_IMAGE if base == Gimp.ImageBaseType.GRAY else Gimp.ImageType.RGBA_IMAGE
    if like is not None and base == source.base_type:
        kind = like
    width, height = source.area.size
    layer = Gimp.Layer.new(source.image, name, width, height, kind, source.opacity, Gimp.LayerMode.NORMAL)
    layer.set_offsets(*get_position(source))
    return layer


def _get_native_format(layer: Gimp.Layer) -> tuple[str, int]:
    """The layer's own format: its name and bytes per pixel."""
    form = layer.get_format()
    return Babl.get_name(form), Babl.format_get_bytes_per_pixel(form)


def _finish(
    layer: Gimp.Layer, pixels: Gegl.Buffer, mask: Gimp.LayerMask | None, mask_buffer: Gegl.Buffer | None
) -> Gimp.Layer:
    pixels.flush()
    if mask is not None and mask_buffer is not None:
        mask_buffer.flush()
        layer.add_mask(mask)
        layer.set_edit_mask(False)  # otherwise the user would paint on the mask
    return layer
