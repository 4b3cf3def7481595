"""The unprotected photo that Check compares with: a layer of the image, another open image, or a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from gi.repository import Gegl, Gimp, Gio, GLib
from worker_client.errors import Refused
from worker_client.settings import find_origin, find_run_record

import layers
import run
from layers import Source, as_shown, make_source
from pixels import Format, Rect


@dataclass(frozen=True)
class Original:
    """The presumed unprotected photo.

    Attributes:
        layer: of the judged image, at its place there; None for a picture that shows all of what is judged.
        picture: that picture: an open image, one of its layers or a file; None for a layer of the judged image.
    """

    layer: Gimp.Layer | None = None
    picture: Gimp.Image | Gimp.Layer | Gio.File | None = None

    @property
    def name(self) -> str:
        """Its name for the user."""
        if isinstance(self.picture, Gio.File):
            return str(self.picture.get_basename())
        return str((self.layer or self.picture).get_name())  # type: ignore[union-attr]

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """Its pixels, only while they are sent: GIMP's Cancel kills the plug-in, which would leave copies in GIMP.

        Raises:
            Refused: it is gone, its type can't be compared, or the file can't be read.
        """
        item = self.layer if self.layer is not None else self.picture
        with ExitStack() as at_the_end:
            if isinstance(item, Gio.File):
                item = _load_image(item)
                at_the_end.callback(item.delete)
            if isinstance(item, Gimp.Image):
                if not item.is_valid():
                    raise Refused("image-closed")
                item = Gimp.Layer.new_from_visible(item, item, "")
                at_the_end.callback(item.delete)
            if item is None or not item.is_valid():
                raise Refused("layer-deleted")
            yield make_source(item.get_image(), [item])


def make_original(layer: Gimp.Layer, judged: Gimp.Image) -> Original:
    """A layer as the original: one of the judged image, or a picture of its own."""
    inside = layer.is_valid() and layer.get_image().get_id() == judged.get_id()
    return Original(layer=layer) if inside else Original(picture=layer)


def find_known(selected: Source) -> Original | None:
    """The original according to the selected layer or the results in its image: by its tattoo, else by its pixels."""
    record = get_run_record(selected)
    if record is None:
        unprotected = is_unprotected(selected, layers.list_run_records(selected.image))
        return Original(layer=selected.layer) if unprotected else None
    layer = find_origin(selected.image, record) or _find_by_pixels(selected.image, record)
    return None if layer is None else Original(layer=layer)


def get_run_record(selected: Source) -> dict[str, Any] | None:
    """The record of the run that made the selected layer, or of the topmost on it; never of one on another photo."""
    record = next((found for layer in layers.walk_up(selected.layer) if (found := layers.read_run_record(layer))), None)
    return find_run_record(record, selected.tattoo, layers.list_run_records(selected.image))


def is_made_by_run(layer: Gimp.Layer) -> bool:
    """Whether a run of ours made a layer, or the group that it is in."""
    return any(layers.read_run_record(part) is not None for part in layers.walk_up(layer))


def is_unprotected(source: Source, records: list[dict[str, Any]]) -> bool:
    """Whether a layer has the pixels that one of these runs protected."""
    if not any(record["pixels"] for record in records):
        return False
    with as_shown(source.layer) as buffer:
        return has_pixels_of(buffer, source.form, source.area, records)


def has_pixels_of(buffer: Gegl.Buffer, form: Format, area: Rect, records: list[dict[str, Any]]) -> bool:
    """Whether pixels are those that one of these runs protected.

    Args:
        buffer: to read from.
        form: in which they are sent, the same as that of the run's photo except for alpha.
        area: where the buffer has pixels.
        records: of the runs.
    """
    for fingerprint in (record["pixels"] for record in records if record["pixels"]):
        rects = [Rect(*rect) for rect in fingerprint["rects"]]
        # The visible image has alpha, whether or not the photo has.
        if all(r.intersect(area) == r for r in rects) and any(
            run.digest_photo(buffer, version, rects) == fingerprint["digest"] for version in {form, form.opaque}
        ):
            return True
    return False


def _find_by_pixels(image: Gimp.Image, record: dict[str, Any]) -> Gimp.Layer | None:
    """The layer with the pixels that a run protected: in a copy of the image its tattoo may belong to any layer."""
    for layer in layers.walk_layers(image.get_layers()):
        if not is_made_by_run(layer) and is_unprotected(make_source(image, [layer]), [record]):
            return layer
    return None


def _load_image(file: Gio.File) -> Gimp.Image:
    """A file as an image without a display, upright and in colours that can be compared.

    Raises:
        Refused: GIMP can't open it.
    """
    try:
        image: Gimp.Image | None = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)
    except GLib.Error as error:
        raise Refused("original-not-read", path=file.get_parse_name(), reason=error.message) from error
    if image is None:
        raise Refused("original-not-read", path=file.get_parse_name(), reason=Gimp.get_pdb().get_last_error())
    image.policy_rotate(False)
    if image.get_base_type() == Gimp.ImageBaseType.INDEXED:
        image.convert_rgb()
    return image
