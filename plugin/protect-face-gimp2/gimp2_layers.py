"""What of the image travels, and the new layer that comes of it; Python 2.7.

The user may edit the image while the worker searches. So the layer, its mask and the selection are copied at the start
(GIMP shares their tiles, which costs next to nothing), and the image is touched by one insertion at the end.
"""

import json

from gimpfu import (
    ADD_MASK_BLACK,
    GRAY,
    GRAY_IMAGE,
    GRAYA_IMAGE,
    INDEXED,
    INTERPOLATION_LINEAR,
    LAYER_MODE_NORMAL,
    MASK_DISCARD,
    PRECISION_U8_LINEAR,
    RGBA_IMAGE,
    gimp,
    pdb,
)

from gimp2_pixels import SIZES, TRAVEL, icc_profile, levels, padded, read, times, with_alpha, write
from gimp2_texts import Refused, _

PARASITE = "protect-face"
PARASITE_FLAGS = 3  # persistent, undoable

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any

    from gimpfu import Channel, Drawable, Image, Layer
    from worker_client import Picture

    from gimp2_pixels import Rect


class Source(object):
    """The layer to protect, as it was when the run began; a context manager that drops the copies.

    Attributes:
        copy: the layer in an image of our own, in the precision in which it travels.
        depth: "u8", "u16" or "float".
        channels: 1 to 4, alpha last.
        icc: profile of the bytes.
        size: width and height.
    """

    def __init__(self, image, drawable):
        # type: (Image, Drawable) -> None
        if pdb.gimp_image_base_type(image) == INDEXED:
            raise Refused(_("An indexed image has too few colours; choose Image > Mode > RGB and try again."))
        if image.floating_selection is not None:
            raise Refused(_("There is a floating selection; anchor it or make it a layer and try again."))
        if not isinstance(drawable, gimp.Layer):
            raise Refused(_("A mask or channel can't be protected; select the layer with the photo and try again."))
        self.image = image
        self.tattoo = drawable.tattoo
        self.offset = drawable.offsets
        self.opacity = drawable.opacity
        self.size = (drawable.width, drawable.height)
        self.depth, precision = TRAVEL[image.precision]
        self.icc = icc_profile(image)
        self._scratch = _scratch(image, precision)
        self._masks = pdb.gimp_image_new_with_precision(1, 1, GRAY, PRECISION_U8_LINEAR)
        self.copy = _copied(drawable, self._scratch)
        self.channels = self.copy.bpp // SIZES[self.depth]
        self._selection = None if pdb.gimp_selection_is_empty(image) else _copied(image.selection, self._masks)
        own = drawable.mask if pdb.gimp_layer_get_apply_mask(drawable) else None
        self._own_mask = None if own is None else _copied(own, self._masks)
        if self.copy.mask is not None:
            self.copy.remove_mask(MASK_DISCARD)

    @property
    def area(self):
        # type: () -> Rect
        return (0, 0) + self.size

    def __enter__(self):
        # type: () -> Source
        return self

    def __exit__(self, *_):
        # type: (object) -> None
        pdb.gimp_image_delete(self._scratch)
        pdb.gimp_image_delete(self._masks)

    @property
    def selected(self):
        # type: () -> bool
        """Whether anything is selected."""
        return self._selection is not None

    def reduced(self, width, height):
        # type: (int, int) -> tuple[Layer, bytes | None]
        """The layer and the selection over it at another size."""
        small = _copied(self.copy, self._scratch)
        pdb.gimp_context_push()
        pdb.gimp_context_set_interpolation(INTERPOLATION_LINEAR)
        selection = None
        if self._selection is not None:
            # One row of pixels is one row of the layer: what lies outside of the canvas is not selected.
            over = gimp.Layer(self._masks, "", self.size[0], self.size[1], GRAY_IMAGE, 100, LAYER_MODE_NORMAL)
            self._masks.add_layer(over, 0)
            write(over, self.area, [padded(self._selection, self._in_image(self.area))])
            pdb.gimp_layer_scale(over, width, height, False)
            selection = b"".join(read(over, (0, 0, width, height)))
        pdb.gimp_layer_scale(small, width, height, False)
        pdb.gimp_context_pop()
        return small, selection

    def as_seen(self):
        # type: () -> Layer
        """The visible image in the layer's own precision, as large as the canvas."""
        seen = pdb.gimp_layer_new_from_visible(self.image, self._scratch, "")
        self._scratch.add_layer(seen, 0)
        return seen  # type: ignore[no-any-return]

    def limit(self, rect):
        # type: (Rect) -> bytes | None
        """How far a change of each pixel may show, by selection and layer mask; None for everywhere, fully."""
        limit = None
        if self._selection is not None:
            limit = padded(self._selection, self._in_image(rect))
        if self._own_mask is not None:
            own = padded(self._own_mask, rect)
            limit = own if limit is None else times(limit, own)
        return limit

    def result_layer(self, name, regions):
        # type: (str, list[tuple[Picture, bytes]]) -> Layer
        """A layer for the image that shows the changed pixels and nothing else.

        Args:
            name: of the layer.
            regions: rectangles that came back, with one byte a pixel: 255 where it changed, else 0.
        """
        kind = GRAYA_IMAGE if self.channels < 3 else RGBA_IMAGE
        layer = gimp.Layer(self._scratch, name, self.size[0], self.size[1], kind, self.opacity, LAYER_MODE_NORMAL)
        self._scratch.add_layer(layer, 0)
        mask = _black_mask(layer)
        for picture, changed in regions:
            rect = (picture.x, picture.y, picture.width, picture.height)
            write(layer, rect, [with_alpha(b"".join(picture.strips), self.channels, self.depth, changed)])
            limit = self.limit(rect)
            write(mask, rect, [levels(changed if limit is None else times(changed, limit), self.depth)])
        return self._for_the_image(layer, name)

    def whole_layer(self, name, regions):
        # type: (str, list[tuple[Picture, bytes]]) -> Layer
        """A layer for the image that is a full copy with the changed pixels in it; arguments as above."""
        layer = self.copy.copy(True)
        self._scratch.add_layer(layer, 0)
        for picture, _changed in regions:
            rect = (picture.x, picture.y, picture.width, picture.height)
            write(layer, rect, [with_alpha(b"".join(picture.strips), self.channels, self.depth)])
        limit = self.limit(self.area)
        if limit is not None:
            write(_black_mask(layer), self.area, [levels(limit, self.depth)])
        return self._for_the_image(layer, name)

    def insert(self, layer, settings):
        # type: (Layer, dict[str, Any]) -> None
        """Puts a finished layer above the source as one undo step, with the run's settings in its parasite."""
        layer.parasite_attach(gimp.Parasite(PARASITE, PARASITE_FLAGS, json.dumps(settings)))
        below = self.image.get_layer_by_tattoo(self.tattoo)
        parent = below.parent if below is not None else None
        position = pdb.gimp_image_get_item_position(self.image, below) if below is not None else 0
        pdb.gimp_image_undo_group_start(self.image)
        try:
            pdb.gimp_image_insert_layer(self.image, layer, parent, position)
            pdb.gimp_image_set_active_layer(self.image, layer)
            if layer.mask is not None:
                pdb.gimp_layer_set_edit_mask(layer, False)  # or the user would paint on the mask
        finally:
            pdb.gimp_image_undo_group_end(self.image)

    def _for_the_image(self, layer, name):
        # type: (Layer, str) -> Layer
        """The layer with its mask, converted to the image's own precision."""
        if not pdb.gimp_image_is_valid(self.image):
            raise Refused(_("The image was closed during the run; open it and try again."))
        if pdb.gimp_image_base_type(self.image) == INDEXED:
            raise Refused(_("The image became indexed during the run; choose Image > Mode > RGB and try again."))
        below = self.image.get_layer_by_tattoo(self.tattoo)
        x, y = below.offsets if below is not None else self.offset
        final = pdb.gimp_layer_new_from_drawable(layer, self.image)
        final.name = name
        final.opacity = self.opacity
        final.mode = LAYER_MODE_NORMAL
        final.visible = True
        final.set_offsets(x, y)
        return final  # type: ignore[no-any-return]

    def _in_image(self, rect):
        # type: (Rect) -> Rect
        return (rect[0] + self.offset[0], rect[1] + self.offset[1], rect[2], rect[3])


def remembered(layer):
    # type: (Layer) -> dict[str, Any] | None
    """The settings of the run that made the layer, None when it was none of ours."""
    parasite = layer.parasite_find(PARASITE)
    if parasite is None:
        return None
    try:
        settings = json.loads(parasite.data)
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None


def _scratch(image, precision):
    # type: (Image, int) -> Image
    """An image of our own with the colour space of ``image``, which nobody sees."""
    scratch = pdb.gimp_image_new_with_precision(1, 1, pdb.gimp_image_base_type(image), precision)
    count, profile = pdb.gimp_image_get_color_profile(image)
    if count:
        pdb.gimp_image_set_color_profile(scratch, count, profile)
    return scratch  # type: ignore[no-any-return]


def _black_mask(layer):
    # type: (Layer) -> Channel
    """Gives the layer a mask that hides all of it."""
    mask = layer.create_mask(ADD_MASK_BLACK)
    layer.add_mask(mask)
    return mask


def _copied(drawable, image):
    # type: (Drawable, Image) -> Layer
    copy = pdb.gimp_layer_new_from_drawable(drawable, image)
    image.add_layer(copy, 0)
    return copy  # type: ignore[no-any-return]
