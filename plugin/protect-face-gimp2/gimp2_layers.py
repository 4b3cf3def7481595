"""The pixels that are sent, and the new layer with the result; Python 2.7.

The user may edit the image while the worker searches. Therefore everything needed is recorded before, and the image is
changed by one insertion at the end. The layer, its mask and the selection are copied (GIMP shares their tiles, which
costs next to nothing) only until they are sent: GIMP's Cancel kills the plug-in, and its copies then stay in GIMP.
"""

from gimpfu import (
    ADD_MASK_BLACK,
    ADD_MASK_WHITE,
    GRAY,
    GRAY_IMAGE,
    GRAYA_IMAGE,
    INDEXED,
    INTERPOLATION_NONE,
    LAYER_COLOR_SPACE_RGB_PERCEPTUAL,
    LAYER_COMPOSITE_CLIP_TO_BACKDROP,
    LAYER_MODE_HARDLIGHT,
    LAYER_MODE_NORMAL,
    MASK_DISCARD,
    PRECISION_U8_LINEAR,
    RGB_IMAGE,
    RGBA_IMAGE,
    gimp,
    pdb,
)
from worker_client.constants import DEPTHS
from worker_client.errors import Refused
from worker_client.pixel_ops import crop_mask, mask_to_depth, mask_with_alpha, merge, multiply_masks
from worker_client.results import get_bounds, translate_product
from worker_client.settings import PARASITE
from worker_client.texts import as_text

from gimp2_pixels import OWN_DEPTHS, TRAVEL, get_icc_profile, intersect, read, read_padded, write
from gimp2_texts import to_native

PARASITE_FLAGS = 3  # persistent, undoable
# By the number of channels.
_KINDS = {1: GRAY_IMAGE, 2: GRAYA_IMAGE, 3: RGB_IMAGE, 4: RGBA_IMAGE}
_MODES = {"normal": LAYER_MODE_NORMAL, "hard-light": LAYER_MODE_HARDLIGHT}

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterator, Sequence

    from gimpfu import Channel, Drawable, Image, Layer
    from worker_client import Picture

    from gimp2_pixels import Rect


class Source(object):
    """The layer to protect, as it was when the run began; a context manager that deletes its scratch images.

    Attributes:
        depth: "u8", "u16" or "float".
        size: width and height.
        name: of the layer.
        scratch: an image of our own, in the precision in which pixels are sent.
        copy: the layer in it, after ``take``.
        channels: of the copy: 1 to 4, alpha last.
        icc: profile of the bytes.
    """

    def __init__(self, image, drawable, alone=False, above=None):
        # type: (Image, Drawable, bool, Layer | None) -> None
        """Args:
        image, drawable: as passed by the host.
        alone: ignore the layer's mask and opacity, because they have already been applied to the visible image.
        above: the layer that the result goes above; None for the drawable.
        """
        if pdb.gimp_image_base_type(image) == INDEXED:
            raise Refused("image-indexed")
        if image.floating_selection is not None:
            raise Refused("floating-selection")
        if not isinstance(drawable, gimp.Layer):
            raise Refused("no-layer")
        self.image = image
        self.name = drawable.name
        self.tattoo = drawable.tattoo
        self._above = drawable.tattoo if above is None else above.tattoo
        self.offset = drawable.offsets
        self.opacity = 100.0 if alone else drawable.opacity
        self.size = (drawable.width, drawable.height)
        self.depth, self._precision = TRAVEL[image.precision]
        self._look = _get_look(image)
        self._ignores_mask = alone
        self._images = []  # type: list[Image]
        self._limits = []  # type: list[tuple[Rect, bytes]]

    def take(self):
        # type: () -> None
        """Copies the layer, its mask and the selection, to be sent.

        Raises:
            Refused: the layer is gone.
        """
        drawable = self._find_layer()
        if drawable is None:
            raise Refused("layer-deleted")
        self.scratch = self._make_scratch()
        self.icc = get_icc_profile(self.scratch)
        self._masks = self.adopt(pdb.gimp_image_new_with_precision(1, 1, GRAY, PRECISION_U8_LINEAR))
        self.copy = copy_drawable(drawable, self.scratch)
        self.channels = self.copy.bpp // DEPTHS[self.depth]
        self._selection = copy_drawable(self.image.selection, self._masks) if self.selected else None
        mask = drawable.mask if pdb.gimp_layer_get_apply_mask(drawable) and not self._ignores_mask else None
        self._layer_mask = None if mask is None else copy_drawable(mask, self._masks)
        if self.copy.mask is not None:
            self.copy.remove_mask(MASK_DISCARD)

    def drop(self):
        # type: () -> None
        """Deletes all scratch images."""
        while self._images:
            pdb.gimp_image_delete(self._images.pop())

    def _make_scratch(self):
        # type: () -> Image
        return self.adopt(_make_scratch_image(self._look, self._precision))

    def adopt(self, image):
        # type: (Image) -> Image
        """Registers an image that ``drop`` deletes."""
        self._images.append(image)
        return image

    @property
    def area(self):
        # type: () -> Rect
        return (0, 0) + self.size

    def __enter__(self):
        # type: () -> Source
        return self

    def __exit__(self, *_):
        # type: (object) -> None
        self.drop()

    @property
    def selected(self):
        # type: () -> bool
        """Whether anything is selected."""
        return not pdb.gimp_selection_is_empty(self.image)

    def make_reduced(self, width, height):
        # type: (int, int) -> tuple[Layer, bytes | None]
        """The layer and the selection over it at another size, for detection only.

        Without interpolation: that finds the same faces within a pixel or two, even under heavy noise, and takes a
        tenth of the second that averaging 24 megapixels needs here.
        """
        small = copy_drawable(self.copy, self.scratch)
        pdb.gimp_context_push()
        pdb.gimp_context_set_interpolation(INTERPOLATION_NONE)
        selection = None
        if self._selection is not None:
            # As large as the layer: pixels outside of the canvas are not selected.
            selection_layer = gimp.Layer(
                self._masks, "", self.size[0], self.size[1], GRAY_IMAGE, 100, LAYER_MODE_NORMAL
            )
            self._masks.add_layer(selection_layer, 0)
            write(selection_layer, self.area, [read_padded(self._selection, self._to_image_rect(self.area))])
            pdb.gimp_layer_scale(selection_layer, width, height, False)
            selection = b"".join(read(selection_layer, (0, 0, width, height)))
        pdb.gimp_layer_scale(small, width, height, False)
        pdb.gimp_context_pop()
        return small, selection

    def as_seen(self, image):
        # type: (Image) -> Layer
        """The visible image in the layer's precision and colours, as large as the canvas."""
        layer = pdb.gimp_layer_new_from_visible(image, self.scratch, "")
        self.scratch.add_layer(layer, 0)
        return layer  # type: ignore[no-any-return]

    def read_selection(self, rect):
        # type: (Rect) -> bytes | None
        """The selection over a rectangle of the layer, one byte per pixel, 0 outside the canvas; None without one."""
        return None if self._selection is None else read_padded(self._selection, self._to_image_rect(rect))

    def note_limits(self, rects):
        # type: (list[Rect]) -> None
        """Records how far selection and layer mask let a change of each pixel in these rectangles show."""
        self._limits = []
        for rect in rects:
            limit = self.read_selection(rect)
            if self._layer_mask is not None:
                mask = read_padded(self._layer_mask, rect)
                limit = mask if limit is None else multiply_masks(limit, mask)
            if limit is not None:
                self._limits.append((rect, limit))

    def _find_limit(self, rect):
        # type: (Rect) -> bytes | None
        """The recorded limit over a rectangle; None for none."""
        for noted, limit in self._limits:
            if intersect(noted, rect) == rect:
                return crop_mask(limit, noted, rect)
        return None

    def build_result_layer(self, name, changes):
        # type: (str, list[tuple[Picture, bytes]]) -> Layer
        """A layer for the image that shows the changed pixels and nothing else.

        Args:
            name: of the layer.
            changes: rectangles from the worker, with one byte per pixel: 255 where it changed, else 0.
        """
        self.scratch = self._make_scratch()
        layer = self._make_layer(name, self.size[0], self.size[1], self._with_alpha)
        mask = _add_mask(layer, ADD_MASK_BLACK)
        for picture, changed in changes:
            rect = get_bounds(picture)
            # Strengthened pixels come from the visible image, which has alpha where the source has none.
            cut = mask_with_alpha(b"".join(picture.strips), changed, picture.channels, self.depth)
            write(layer, rect, [cut])
            write(mask, rect, [mask_to_depth(self._limit_visibility(rect, changed), self.depth)])
        return self._convert_for_image(layer, name)

    def build_whole_layer(self, name, changes):
        # type: (str, list[tuple[Picture, bytes]]) -> Layer
        """A layer for the image that is a full copy with the changed pixels in it; arguments as above.

        It has a mask only if the selection or the source's mask requires one. If the source was deleted meanwhile,
        there is nothing to copy, and only the changed pixels are shown.
        """
        original = self._find_layer()
        if original is None:
            return self.build_result_layer(name, changes)
        # In the image's own precision if Python can write it, so that unchanged pixels stay exact.
        depth = OWN_DEPTHS.get(self.image.precision)
        self.scratch = self._make_scratch()
        scratch = self.scratch
        if depth is not None:
            scratch = self.adopt(_make_scratch_image(_get_look(self.image), self.image.precision))
        layer = copy_drawable(original, scratch)
        if layer.mask is not None and not pdb.gimp_layer_get_apply_mask(original):
            layer.remove_mask(MASK_DISCARD)
        if layer.mask is None and any(self._find_limit(get_bounds(picture)) is not None for picture, _ in changes):
            _add_mask(layer, ADD_MASK_WHITE)
        for picture, changed in changes:
            _merge(layer, get_bounds(picture), self._as_pixels(picture, scratch), changed)
            if layer.mask is not None:
                visible = self._limit_visibility(get_bounds(picture), changed)
                _merge(layer.mask, get_bounds(picture), mask_to_depth(visible, depth or self.depth), changed)
        return self._convert_for_image(layer, name)

    def build_product_group(self, name, pictures, changed):
        # type: (str, Sequence[Picture], dict[Rect, bytes]) -> Layer
        """A group for the image that looks like the layer of ``build_result_layer`` and has one layer per product.

        Args:
            name: of the group.
            pictures: the layers from the bottom to the top, as the worker sends them.
            changed: rectangles, with one byte per pixel: 255 where it changed, else 0.
        """
        self.scratch = self._make_scratch()
        group = pdb.gimp_layer_group_new(self.scratch)
        self.scratch.add_layer(group, 0)
        for picture in pictures:
            pdb.gimp_image_reorder_item(self.scratch, self._build_product(picture), group, 0)
        mask = _add_mask(group, ADD_MASK_BLACK)
        left, top = group.offsets
        area = (left, top, group.width, group.height)
        for rect, mask_bytes in changed.items():
            inner = intersect(rect, area)
            visible = crop_mask(self._limit_visibility(rect, mask_bytes), rect, inner)
            write(mask, (inner[0] - left, inner[1] - top) + inner[2:], [mask_to_depth(visible, self.depth)])
        return self._convert_for_image(group, name, (left, top))

    def _build_product(self, picture):
        # type: (Picture) -> Layer
        """A layer as large as its picture, blended as the worker computed it: in the encoding that was sent."""
        layer = self._make_layer(translate_product(picture), picture.width, picture.height, self._with_alpha)
        layer.set_offsets(picture.x, picture.y)
        write(layer, (0, 0, picture.width, picture.height), picture.strips)
        layer.mode = _MODES[picture.about["mode"]]
        pdb.gimp_layer_set_blend_space(layer, LAYER_COLOR_SPACE_RGB_PERCEPTUAL)
        pdb.gimp_layer_set_composite_space(layer, LAYER_COLOR_SPACE_RGB_PERCEPTUAL)
        if picture.about["mode"] != "normal":
            pdb.gimp_layer_set_composite_mode(layer, LAYER_COMPOSITE_CLIP_TO_BACKDROP)
        return layer

    def _limit_visibility(self, rect, changed):
        # type: (Rect, bytes) -> bytes
        """How visible the pixels of a changed rectangle are, one byte per pixel."""
        limit = self._find_limit(rect)
        return changed if limit is None else multiply_masks(changed, limit)

    def _as_pixels(self, picture, scratch):
        # type: (Picture, Image) -> bytes
        """A picture from the worker as pixels of a scratch image."""
        area = (0, 0, picture.width, picture.height)
        layer = self._make_layer("", picture.width, picture.height, _KINDS[picture.channels])
        write(layer, area, picture.strips)
        return b"".join(read(copy_drawable(layer, scratch), area))

    @property
    def _with_alpha(self):
        # type: () -> int
        return GRAYA_IMAGE if self.channels < 3 else RGBA_IMAGE

    def _make_layer(self, name, width, height, kind):
        # type: (str, int, int, int) -> Layer
        """An empty layer in the scratch image."""
        layer = gimp.Layer(self.scratch, to_native(name), width, height, kind, 100, LAYER_MODE_NORMAL)
        self.scratch.add_layer(layer, 0)
        return layer

    def insert(self, layer, record, on_top=False, hidden=()):
        # type: (Layer, str, bool, Sequence[Layer]) -> None
        """Inserts a finished layer at its place as one undo step.

        Args:
            layer: to insert.
            record: of its run, which it keeps.
            on_top: above everything, instead of above the source and its earlier results.
            hidden: earlier results that it replaces.
        """
        layer.parasite_attach(gimp.Parasite(PARASITE, PARASITE_FLAGS, to_native(record)))
        below = None if on_top else self.image.get_layer_by_tattoo(self._above)
        parent = below.parent if below is not None else None
        position = pdb.gimp_image_get_item_position(self.image, below) if below is not None else 0
        pdb.gimp_image_undo_group_start(self.image)
        try:
            pdb.gimp_image_insert_layer(self.image, layer, parent, position)
            for earlier in hidden:
                pdb.gimp_item_set_visible(earlier, False)
            pdb.gimp_image_set_active_layer(self.image, layer)
            if layer.mask is not None:
                pdb.gimp_layer_set_edit_mask(layer, False)  # otherwise the user would paint on the mask
        finally:
            pdb.gimp_image_undo_group_end(self.image)

    def _convert_for_image(self, layer, name, corner=(0, 0)):
        # type: (Layer, str, tuple[int, int]) -> Layer
        """The layer with its mask, converted to the image's own precision, ``corner`` pixels from the source's."""
        current = self._find_layer()
        x, y = current.offsets if current is not None else self.offset
        final = pdb.gimp_layer_new_from_drawable(layer, self.image)
        final.name = to_native(name)
        final.opacity = self.opacity
        final.mode = LAYER_MODE_NORMAL
        final.visible = True
        final.set_offsets(x + corner[0], y + corner[1])
        return final  # type: ignore[no-any-return]

    def _find_layer(self):
        # type: () -> Layer | None
        """The layer, unless it was deleted.

        Raises:
            Refused: the image was closed or has become indexed, or the layer has another size.
        """
        if not pdb.gimp_image_is_valid(self.image):
            raise Refused("image-closed")
        if pdb.gimp_image_base_type(self.image) == INDEXED:
            raise Refused("image-became-indexed")
        layer = self.image.get_layer_by_tattoo(self.tattoo)
        if layer is not None and (layer.width, layer.height) != self.size:
            raise Refused("layer-resized")
        return layer

    def _to_image_rect(self, rect):
        # type: (Rect) -> Rect
        return (rect[0] + self.offset[0], rect[1] + self.offset[1], rect[2], rect[3])


def open_file(path):
    # type: (str) -> Source
    """Opens a file and flattens what is visible; dropping the source closes the file.

    Raises:
        Refused: GIMP can't open it.
    """
    try:
        image = pdb.gimp_file_load(to_native(path), to_native(path))
    except RuntimeError as error:
        raise Refused("original-not-read", path=as_text(path), reason=as_text(str(error)))
    if pdb.gimp_image_base_type(image) == INDEXED:
        pdb.gimp_image_convert_rgb(image)
    if len(image.layers) > 1:
        image.add_layer(pdb.gimp_layer_new_from_visible(image, image, ""), 0)
    source = Source(image, image.layers[0])
    source.adopt(image)
    return source


def walk_layers(layers):
    # type: (Sequence[Layer]) -> Iterator[Layer]
    """Layers and those in their groups, from the top."""
    for layer in layers:
        yield layer
        if pdb.gimp_item_is_group(layer):
            for inner in walk_layers(layer.layers):
                yield inner


def _get_look(image):
    # type: (Image) -> tuple[int, int, tuple[int, Sequence[int]]]
    """What defines the meaning of an image's pixels: base type, precision and colour profile."""
    return pdb.gimp_image_base_type(image), image.precision, pdb.gimp_image_get_color_profile(image)


def _make_scratch_image(look, precision):
    # type: (tuple[int, int, tuple[int, Sequence[int]]], int) -> Image
    """An image without a display, with the base type and colour profile of ``look``."""
    base, own_precision, (count, profile) = look
    scratch = pdb.gimp_image_new_with_precision(1, 1, base, own_precision)
    if count:
        pdb.gimp_image_set_color_profile(scratch, count, profile)
    if precision != own_precision:
        # From linear to non-linear, GIMP changes the curve of the profile too.
        pdb.gimp_image_convert_precision(scratch, precision)
    return scratch  # type: ignore[no-any-return]


def _add_mask(layer, filled):
    # type: (Layer, int) -> Channel
    """Gives the layer a mask that hides or shows all of it."""
    mask = layer.create_mask(filled)
    layer.add_mask(mask)
    return mask


def _merge(drawable, rect, pixels, changed):
    # type: (Drawable, Rect, bytes, bytes) -> None
    """Sets the pixels of a rectangle where ``changed`` is 255."""
    unchanged = b"".join(read(drawable, rect))
    write(drawable, rect, [merge(unchanged, pixels, changed, drawable.bpp)])


def copy_drawable(drawable, image):
    # type: (Drawable, Image) -> Layer
    """A copy in a scratch image that may be changed: without the drawable's locks, and a single layer for a group."""
    copy = pdb.gimp_layer_new_from_drawable(drawable, image)
    image.add_layer(copy, 0)
    if pdb.gimp_item_is_group(copy):
        return _flatten_group(copy, image)
    pdb.gimp_item_set_lock_content(copy, False)
    pdb.gimp_item_set_lock_position(copy, False)
    pdb.gimp_item_set_linked(copy, False)
    return copy  # type: ignore[no-any-return]


def make_opaque(layer, image):
    # type: (Layer, Image) -> Layer
    """A layer of a scratch image without alpha: itself if it has none, else a copy."""
    if not pdb.gimp_drawable_has_alpha(layer):
        return layer
    copy = copy_drawable(layer, image)
    pdb.gimp_layer_flatten(copy)
    return copy


def _flatten_group(group, image):
    # type: (Layer, Image) -> Layer
    """Replaces a group in a scratch image by a layer that looks like it and has its mask."""
    flat = gimp.Layer(image, "", group.width, group.height, group.type, 100, LAYER_MODE_NORMAL)
    image.add_layer(flat, 0)
    area = (0, 0, group.width, group.height)
    write(flat, area, read(group, area))
    if group.mask is not None:
        write(_add_mask(flat, ADD_MASK_WHITE), area, read(group.mask, area))
    image.remove_layer(group)
    return flat
