# -*- coding: utf-8 -*-
"""The user's settings, their form in the worker's protocol, and the record of a run that its layer keeps."""

from __future__ import unicode_literals

import io
import json
import os

from worker_client.texts import _

DEFAULT_PROMPT = _("natural makeup")
DEFAULT_STRENGTH = 0.5
DEFAULT_KEEP_EXPRESSION = True
# How much of a search's result is applied, in percent: of everything, and of each part.
AMOUNTS = (
    ("amount", _("Amo_unt"), _("How much of everything is applied; 100 is what the search found")),
    ("shape", _("Shap_e"), _("How much of the change of shape is applied")),
    ("light", _("_Light"), _("How much of the change of light is applied")),
    ("makeup", _("Ma_keup"), _("How much of the makeup is applied")),
)
FULL_AMOUNT, MAX_AMOUNT = 100, 120
FULL_AMOUNTS = {name: FULL_AMOUNT for name, _label, _blurb in AMOUNTS}
# Parts of a face that shape never moves.
LOCKS = (
    ("lock_brows", "brows", _("Lock _brows")),
    ("lock_mouth", "mouth", _("Lock _mouth")),
    ("lock_nose", "nose", _("Lock _nose")),
    ("lock_jaw", "jaw", _("Lock _jaw")),
)
LOCK_BLURB = _("Shape does not move this part at all; light and makeup may still change it")
# The same as in the worker's hello, for hosts that build their dialog before they connect.
PRESETS = (
    _("natural makeup"),
    _("red lipstick and smoky eyes"),
    _("nude lipstick and soft contour"),
    _("pink lipstick and rosy blush"),
    _("bold red lipstick and black winged eyeliner"),
    _("bronze eyeshadow and peach lipstick"),
    _("heavy makeup"),
)

ALL, SELECTED, LARGEST = "all", "selection", "largest"
ONE_LAYER, WHOLE_LAYER, PRODUCTS = "layer", "whole", "products"

# Values and their labels, the default first.
FACES = ((ALL, _("All")), (SELECTED, _("Inside the selection")), (LARGEST, _("The largest")))
MODES = (("dodge", _("Away from the person")), ("decoy", _("Towards a made-up person")))
OUTPUTS = (
    (ONE_LAYER, _("New layer with the changes")),
    (WHOLE_LAYER, _("New layer with the whole photo")),
    (PRODUCTS, _("One layer per makeup product")),
)

# What Check judges.
VISIBLE, LAYER = "visible", "layer"
CHECK_TARGETS = ((VISIBLE, _("The visible image")), (LAYER, _("The selected layer")))

# Name of the parasite of a layer, or group, that a run made.
PARASITE = str("protect-face")
# The key in it of the settings that the user chose; version 0.1 named it, and its layers can still be checked.
_REQUESTED = "wishes"
_WORKER_SETTINGS = ("prompt", "strength", "keep_expression", "mode", "prior", "seed")

# Built from the library's registry of priors, which the plug-ins can't import: a list of names and English labels.
_PRIORS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), str("priors.json"))

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Sequence
    from typing import Any

    from worker_client.client import Event


def read_priors(path):
    # type: (str) -> tuple[tuple[str, str], ...]
    """The names of the priors and their translated labels, the usual one first; it alone where nothing was built."""
    try:
        with io.open(path, encoding="utf-8") as stream:
            return tuple((name, _(label)) for name, label in json.load(stream))
    except (IOError, OSError, ValueError):
        return (("makeup", _("Makeup, light and shape")),)


PRIORS = read_priors(_PRIORS_FILE)
DEFAULT_PRIOR = PRIORS[0][0]


def make_job_header(settings):
    # type: (dict[str, Any]) -> dict[str, Any]
    """The header of "protect" and "search"; ``steps`` 0 means the worker's default."""
    header = {name: settings[name] for name in _WORKER_SETTINGS if name in settings}
    locks = [part for name, part, _label in LOCKS if settings.get(name)]
    if locks:
        header["locks"] = locks
    header.update(make_amounts_header(settings))
    header["output"] = "products" if settings.get("output") == PRODUCTS else "single"
    if settings.get("steps"):
        header["steps"] = settings["steps"]
    return header


def make_amounts_header(settings):
    # type: (dict[str, Any]) -> dict[str, Any]
    """How much of a search's result is applied, in the worker's form: factors, 1 for all of it."""
    return {name: settings[name] / 100.0 for name, _label, _blurb in AMOUNTS if name in settings}


def get_search_settings(settings):
    # type: (dict[str, Any]) -> dict[str, Any]
    """The settings that a search depends on: as long as they are the same it need not run again."""
    names = _WORKER_SETTINGS + tuple(name for name, _part, _label in LOCKS) + ("steps",)
    return {name: settings[name] for name in names if name in settings}


def make_strengthen_settings(settings, steps):
    # type: (dict[str, Any], int) -> dict[str, Any]
    """The settings of a run that strengthens a result.

    Args:
        settings: of the run that made the result, as far as known; its amounts were chosen for another search.
        steps: of the search; 0 for the usual number.
    """
    return dict(settings, output=ONE_LAYER, steps=steps, **FULL_AMOUNTS)


def name_layer(settings):
    # type: (dict[str, Any]) -> str
    """The name of the new layer."""
    return settings["prompt"].strip() or _("Protected face")


def pack_run_record(source, size, tattoo, settings, result, pixels):
    # type: (int, tuple[int, int], int, dict[str, Any], Event, dict[str, Any]) -> str
    """The record of its run that a result layer keeps, for Check and Strengthen in either GIMP.

    Args:
        source: tattoo of the layer that was protected.
        size: its width and height.
        tattoo: of the result layer.
        settings: of the run.
        result: of "protect".
        pixels: of the layer that was protected, see ``pack_pixels``.
    """
    record = {
        "version": 1,
        "source": source,
        "size": list(size),
        "layer": tattoo,
        "pixels": pixels,
        _REQUESTED: settings,
        "settings": result.header["settings"],
        "faces": result.header["faces"],
    }
    return json.dumps(record)


def pack_pixels(rects, digest):
    # type: (Sequence[tuple[int, int, int, int]], str) -> dict[str, Any]
    """The fingerprint of the run's photo: ``results.digest_pictures`` of its pixels in rectangles."""
    return {"rects": [list(rect) for rect in rects], "digest": digest}


def unpack_run_record(text, tattoo):
    # type: (str | bytes, int) -> dict[str, Any] | None
    """The record that ``pack_run_record`` packed; None if it is damaged or not ours.

    It holds the settings that the user chose as "requested", and as "settings" those that the worker made of them.
    Its "pixels" are None if it is from a version that did not keep them.
    Its "source" is None if the layer's ``tattoo`` is not the recorded one: then the layer is a copy, and in its image
    the source's tattoo may belong to any layer.
    """
    try:
        record = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("source"), int):
        return None
    if record.get("layer", tattoo) != tattoo:
        record["source"] = None
    if not _is_pixel_record(record.setdefault("pixels", None)):
        record["pixels"] = None
    record["requested"] = record.pop(_REQUESTED, None)
    return record if isinstance(record["requested"], dict) else None


def find_run_record(record, tattoo, records):
    # type: (dict[str, Any] | None, int, Sequence[dict[str, Any]]) -> dict[str, Any] | None
    """The record of the run that made a layer, else of the topmost run on it; None if there is neither.

    Args:
        record: of the layer, or of the group that it is in; None if no run made it.
        tattoo: of the layer.
        records: of the image's results, from the top.
    """
    if record is None or record["source"] is None:
        return next((candidate for candidate in records if candidate["source"] == tattoo), record)
    return record


def find_origin(image, record):
    # type: (Any, dict[str, Any] | None) -> Any
    """The layer of a host's image that a recorded run protected; None if it is gone or unknown."""
    tattoo = record["source"] if record else None
    return None if tattoo is None else image.get_layer_by_tattoo(tattoo)


def replaces(record, earlier):
    # type: (dict[str, Any], dict[str, Any]) -> bool
    """Whether a run on a photo makes an earlier result useless: it protects every face that the earlier run did.

    False if the photo was cropped or scaled in between, because that is then unknown.
    """
    same_source = earlier["source"] is not None and earlier["source"] == record["source"]
    if not same_source or earlier.get("size") != record.get("size"):
        return False
    return _list_protected(earlier) <= _list_protected(record)


def list_protected_faces(records, source, size):
    # type: (Sequence[dict[str, Any]], int, tuple[int, int]) -> str | list[int]
    """The faces that runs have protected; ``ALL`` if that is unknown, as in a photo that was cropped or scaled since.

    Args:
        records: of the image's results.
        source: tattoo of the photo.
        size: its width and height now, by which its faces are numbered.
    """
    runs = [record for record in records if record["source"] == source]
    if any(record.get("size") != list(size) for record in runs):
        return ALL
    return sorted({number for record in runs for number in _list_protected(record)}) or ALL


def list_faces_of_run(record, size):
    # type: (dict[str, Any], tuple[int, int]) -> list[dict[str, Any]]
    """The faces that a run has protected, where they were; none if that is unknown, as above."""
    if record.get("size") != list(size):
        return []
    return [face for face in record.get("faces", []) if face["similarities"]]


def _list_protected(record):
    # type: (dict[str, Any]) -> set[int]
    """Numbers of the faces that a run has protected."""
    return {face["number"] for face in record.get("faces", []) if face["similarities"]}


def _is_pixel_record(pixels):
    # type: (Any) -> bool
    """Whether this has the form of ``pack_pixels``; it is from a file, which anybody may have made."""
    if not isinstance(pixels, dict) or not isinstance(pixels.get("rects"), list):
        return False
    return all(
        isinstance(rect, list)
        and len(rect) == 4
        and all(isinstance(side, int) for side in rect)
        and min(rect) >= 0
        and min(rect[2:]) > 0
        for rect in pixels["rects"]
    )
