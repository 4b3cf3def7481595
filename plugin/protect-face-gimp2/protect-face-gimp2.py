#!/usr/bin/env python2
# -*- coding: utf-8 -*-
"""Protect Face for GIMP 2.10: registers, asks, sends, shows progress, inserts. The worker does the rest; Python 2.7."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import worker_client
from gimpfu import (
    PF_DRAWABLE,
    PF_IMAGE,
    PF_INT,
    PF_LAYER,
    PF_RADIO,
    PF_SLIDER,
    PF_STRING,
    CancelError,
    gimp,
    main,
    pdb,
    register,
)
from worker_client import Picture, WorkerProblem
from worker_client.protocol import DEPTHS

from gimp2_layers import Source, remembered
from gimp2_pixels import read
from gimp2_texts import DOMAIN, LOCALE, N_, Refused, _, native

PROTECT = "python-fu-protect-face"
CHECK = "python-fu-protect-face-check"
MENU = N_("<Image>/Filters/Privacy")
SELECTED, WHOLE = "selection", "whole"
# Up to this many pixels the whole layer is checked, so that the figures are those of `c2p check` to the last digit.
WHOLE_PIXELS = 4000000

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from gimpfu import Drawable, Image, Layer
    from worker_client import Event, Worker

    T = TypeVar("T")


def protect_face(image, drawable, prompt, strength, faces, output, mode, steps, seed):
    # type: (Image, Drawable, str, float, str, str, str, int, int) -> Layer
    """Adds the protected layer and returns it; the arguments are those of the plug-in for GIMP 3."""
    wishes = {"prompt": prompt, "strength": strength, "mode": mode, "seed": int(seed)}
    if steps > 0:
        wishes["steps"] = int(steps)
    return _guarded(lambda: _protect(image, drawable, wishes, faces, output))


def check_protection(image, drawable):
    # type: (Image, Drawable) -> str
    """Says what recognisers make of the visible image; ``drawable`` is the layer that ``protect_face`` added."""
    return _guarded(lambda: _check(image, drawable))


def _protect(image, drawable, wishes, faces, output):
    # type: (Image, Drawable, dict[str, Any], str, str) -> Layer
    with Source(image, drawable) as source, _connected() as worker:
        if faces == SELECTED and not source.selected:
            raise Refused(_("Nothing is selected; select a face or choose all faces, and try again."))
        found = _find(worker, source, "selected" if faces == SELECTED else faces)
        chosen = _chosen(found)
        rects = _regions(found)
        if not rects:
            raise Refused(_why_nothing_to_do(found["faces"], faces))
        if not any(face["selected"] > 0 for face in chosen):
            raise Refused(
                _("The selection holds no part of a face; select the face, or select nothing, and try again.")
            )

        pictures = [_picture("photo", source.copy, source, rect) for rect in rects]
        result = _finished(
            worker, "protect", dict(wishes, faces=chosen, full=list(source.size), output="single"), pictures
        )
        masks = dict(((p.x, p.y), b"".join(p.strips)) for p in result.pictures if p.name == "mask")
        if not masks:
            raise Refused(_("Nothing was changed; raise the strength and try again."))
        regions = [(p, masks[p.x, p.y]) for p in result.pictures if p.name == "protected"]
        name = wishes["prompt"].strip() or _("Protected face")
        layer = (source.whole_layer if output == WHOLE else source.result_layer)(name, regions)
        settings = {
            "version": 1,
            "source": source.tattoo,
            "wishes": dict(wishes, faces=faces, output=output),
            "settings": result.header["settings"],
            "faces": result.header["faces"],
        }
        source.insert(layer, settings)
        _say(result.header["warnings"] + result.header["sentences"])
        return layer


def _check(image, drawable):
    # type: (Image, Drawable) -> str
    settings = remembered(drawable) if isinstance(drawable, gimp.Layer) else None
    if settings is None:
        raise Refused(_("Select the layer that Protect Face made, and try again."))
    original = image.get_layer_by_tattoo(settings["source"])
    if original is None:
        raise Refused(_("The layer that was protected is no longer there; undo its removal and try again."))
    with Source(image, original) as source, _connected() as worker:
        header = {"full": list(source.size)}  # type: dict[str, Any]
        rects = [source.area]
        if source.size[0] * source.size[1] > WHOLE_PIXELS:
            found = _find(worker, source, "all")
            rects = _regions(found)
            header["faces"] = _chosen(found)
        visible = source.as_seen()
        dx, dy = source.offset
        pictures = []
        for x, y, width, height in rects:
            # Beyond the canvas nothing is visible, and beyond the layer nothing is known.
            left, top = max(x, -dx, 0), max(y, -dy, 0)
            right = min(x + width, image.width - dx, source.size[0])
            bottom = min(y + height, image.height - dy, source.size[1])
            if right > left and bottom > top:
                rect = (left, top, right - left, bottom - top)
                pictures.append(_picture("original", source.copy, source, rect))
                pictures.append(_picture("current", visible, source, rect, source.offset))
        if not pictures:
            raise Refused(_("The protected face lies outside of the image; move the layer back and try again."))
        return _say(_finished(worker, "check", header, pictures).header["sentences"])


def _find(worker, source, choose):
    # type: (Worker, Source, str) -> dict[str, Any]
    """What the worker finds in the layer, as its protocol describes the result of "find"."""
    width, height = worker_client.search_size(*source.size)
    small, selection = source.reduced(width, height)
    pictures = [_picture("photo", small, source, (0, 0, width, height))]
    if selection is not None:
        pictures.append(Picture("selection", 0, 0, width, height, 1, "u8", strips=[selection]))
    return _finished(worker, "find", {"full": list(source.size), "choose": choose}, pictures).header


def _chosen(found):
    # type: (dict[str, Any]) -> list[dict[str, Any]]
    return [face for face in found["faces"] if face["number"] in found["chosen"]]


def _regions(found):
    # type: (dict[str, Any]) -> list[tuple[int, int, int, int]]
    return [(r["x"], r["y"], r["width"], r["height"]) for r in found["regions"]]


def _why_nothing_to_do(found, faces):
    # type: (list[dict[str, Any]], str) -> str
    if not found:
        return _("No face was found; use a photo in which a face can be seen from the front.")
    if faces == SELECTED and not all(face["skipped"] for face in found):
        return _("No face lies inside the selection; select at least half of one and try again.")
    return _("No face can be protected: %s; use a larger version of the photo.") % native(found[0]["skipped"])


def _picture(name, drawable, source, rect, offset=(0, 0)):
    # type: (str, Drawable, Source, tuple[int, int, int, int], tuple[int, int]) -> Picture
    """A rectangle, in pixels of the source's layer, of a drawable that lies ``offset`` further left and up."""
    x, y, width, height = rect
    channels = drawable.bpp // DEPTHS[source.depth]
    strips = read(drawable, (x + offset[0], y + offset[1], width, height))
    return Picture(name, x, y, width, height, channels, source.depth, source.icc, strips)


def _connected():
    # type: () -> Worker
    gimp.progress_init(_("Starting the worker"))
    return worker_client.connect(lambda seconds: pdb.gimp_progress_pulse(), client="GIMP 2.10")


def _finished(worker, kind, header, pictures):
    # type: (Worker, str, dict[str, Any], Sequence[Picture]) -> Event
    """Waits for a job's result and shows how far it is.

    Raises:
        Refused: the job failed.
    """
    for event in worker.submit(kind, header, pictures).events():
        if event.kind == "error":
            raise Refused(native(event.header["sentence"]))
        if event.kind == "result":
            return event
        _show(event)
    raise Refused(_("The worker said nothing; try again."))


def _show(event):
    # type: (Event) -> None
    if event.kind == "queued" and event.header["position"]:
        pdb.gimp_progress_set_text(_("Waiting for another job"))
    elif event.kind == "progress":
        stages = {
            "detect": _("Looking for faces"),
            "load": _("Loading models"),
            "prepare": _("Preparing"),
            "search": _("Searching"),
            "paste": _("Pasting back"),
            "verify": _("Checking"),
        }
        pdb.gimp_progress_set_text(stages.get(event.header["stage"], ""))
        gimp.progress_update(event.header["fraction"])


def _say(sentences):
    # type: (Sequence[object]) -> str
    text = "\n".join([native(sentence) for sentence in sentences])
    gimp.message(text)
    return text


def _guarded(work):
    # type: (Callable[[], T]) -> T
    """Runs ``work``; what goes wrong becomes one message, and gimpfu closes its dialog without more of them."""
    try:
        pdb.gimp_plugin_enable_precision()
        return work()
    except WorkerProblem as problem:
        words = native(problem.sentence)
    except Refused as problem:
        words = native(str(problem))
    gimp.message(words)
    raise CancelError(words)


register(
    PROTECT,
    N_("Keeps people unrecognisable to face recognition while they stay themselves to everyone else"),
    N_("Adds a layer with makeup, light and shape that face-recognition software does not see through."),
    "Protect Face",
    "Protect Face",
    "2026",
    N_("_Protect Face..."),
    "RGB*, GRAY*",
    [
        (PF_IMAGE, "image", _("Image"), None),
        (PF_DRAWABLE, "drawable", _("Layer"), None),
        (PF_STRING, "prompt", _("_Makeup, in plain words"), "natural makeup"),
        (PF_SLIDER, "strength", _("_Strength, from discreet to heavy"), 0.7, (0.0, 1.0, 0.05)),
        (
            PF_RADIO,
            "faces",
            _("Faces"),
            "all",
            ((_("All"), "all"), (_("Inside the selection"), SELECTED), (_("The largest"), "largest")),
        ),
        (
            PF_RADIO,
            "output",
            _("Result"),
            "layer",
            ((_("New layer with the changes"), "layer"), (_("New layer with the whole photo"), WHOLE)),
        ),
        (
            PF_RADIO,
            "mode",
            _("Direction"),
            "dodge",
            ((_("Away from the person"), "dodge"), (_("Towards a made-up person"), "decoy")),
        ),
        (PF_INT, "steps", _("Search s_teps, 0 for the usual number"), 0),
        (PF_INT, "seed", _("Random see_d"), 0),
    ],
    [(PF_LAYER, "layer", _("The new layer"))],
    protect_face,
    menu=MENU,
    domain=(DOMAIN, LOCALE),
)
register(
    CHECK,
    N_("Tells what recognisers say of the image as it looks now"),
    N_("Compares the visible image with the layer that was protected, face by face and recogniser by recogniser."),
    "Protect Face",
    "Protect Face",
    "2026",
    N_("_Check Protection"),
    "RGB*, GRAY*",
    [(PF_IMAGE, "image", _("Image"), None), (PF_DRAWABLE, "drawable", _("Layer that Protect Face made"), None)],
    [(PF_STRING, "report", _("One line per face"))],
    check_protection,
    menu=MENU,
    domain=(DOMAIN, LOCALE),
)
main()
