"""Runs in GIMP's own Python before every script of the host tests: helpers that they share."""

import json
import os
from pathlib import Path

import gi

gi.require_version("Babl", "0.1")
gi.require_version("Gegl", "0.4")
gi.require_version("Gimp", "3.0")
from gi.repository import Babl, Gegl, Gimp, Gio  # noqa: E402

SHARE = Path(os.environ["SHARE"])
SIDE = 320  # px, of the portrait
U8 = "R'G'B'A u8"


def report(**results):
    """Hands values to the test."""
    (SHARE / os.environ.get("RESULTS", "results.json")).write_text(json.dumps(results))


def call(name, image=None, layers=None, **arguments):
    """Runs a procedure; (status nick, error text or "", further return values)."""
    procedure = Gimp.get_pdb().lookup_procedure(name)
    config = procedure.create_config()
    if image is not None:
        config.set_property("image", image)
        config.set_core_object_array("drawables", layers)
    for key, value in arguments.items():
        config.set_property(key, value)
    result = procedure.run(config)
    status = result.index(0)
    if status == Gimp.PDBStatusType.SUCCESS:
        return status.value_nick, "", [result.index(n) for n in range(1, result.length())]
    return status.value_nick, result.index(1) if result.length() > 1 else "", []


def protect(image, layer, **arguments):
    """A short run of the plug-in; (status, error text)."""
    settings = {"steps": 2, "seed": 0}
    settings.update(arguments)
    return call("plug-in-protect-face", image, [layer], **settings)[:2]


def load(name):
    """An image from the share."""
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(str(SHARE / name)))


def portrait():
    """The portrait, and its layer."""
    image = load("portrait.png")
    return image, image.get_layers()[0]


def two_portraits():
    """The portrait twice, side by side, and the layer that has both."""
    image, source = portrait()
    twice = Gimp.Layer.new(image, "twice", 2 * SIDE, SIDE, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
    image.insert_layer(twice, None, 0)
    image.resize_to_layers()
    buffer = twice.get_buffer()
    for left in (0, SIDE):
        source.get_buffer().copy(rect(source), Gegl.AbyssPolicy.NONE, buffer, Gegl.Rectangle.new(left, 0, SIDE, SIDE))
    buffer.flush()
    return image, twice


def rect(drawable):
    return Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height())


def pixels(drawable, name=None, area=None):
    """Bytes of a drawable, in its own format or another."""
    form = name or Babl.get_name(drawable.get_format())
    return bytes(drawable.get_buffer().get(area or rect(drawable), 1.0, form, Gegl.AbyssPolicy.NONE))


def fill(drawable, name, data):
    """Sets all of a drawable's pixels."""
    buffer = drawable.get_buffer()
    buffer.set(rect(drawable), name, data)
    buffer.flush()
    drawable.update(0, 0, drawable.get_width(), drawable.get_height())


def visible(image, name=U8):
    """Bytes of what the image looks like."""
    layer = Gimp.Layer.new_from_visible(image, image, "visible")
    visible_pixels = pixels(layer, name)
    layer.delete()
    return visible_pixels


def names(image):
    return [layer.get_name() for layer in image.get_layers()]
