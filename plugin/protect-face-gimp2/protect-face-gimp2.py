#!/usr/bin/env python2
# -*- coding: utf-8 -*-
"""Protect Face for GIMP 2.10: registers the procedures, whose dialogs gimpfu shows; Python 2.7."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from gimpfu import (
    PF_DRAWABLE,
    PF_FILENAME,
    PF_IMAGE,
    PF_LAYER,
    PF_OPTION,
    PF_RADIO,
    PF_SLIDER,
    PF_SPINNER,
    PF_STRING,
    PF_TOGGLE,
    gimp,
    main,
    register,
)
from worker_client import service, settings
from worker_client.errors import Refused
from worker_client.texts import DOMAIN, LOCALE, as_text

import gimp2_images
import gimp2_run
from gimp2_procedures import connect_with_progress, run_guarded, show_progress
from gimp2_texts import N_, _, to_native

PROTECT = "python-fu-protect-face"
CHECK = "python-fu-protect-face-check"
STRENGTHEN = "python-fu-protect-face-strengthen"
WORKER = "python-fu-protect-face-worker"
MENU = N_("<Image>/Filters/Privacy")
KINDS = "RGB*, GRAY*"

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Sequence
    from typing import Any

    from gimpfu import Drawable, Image, Layer


def protect_face(
    image, drawable, prompt, preset, strength, keep_expression, faces, output, mode, prior, steps, seed, *more
):
    # type: (Image, Drawable, str, int, float, bool, str, str, str, str, int, int, *float) -> Layer
    """Adds the protected layer and returns it.

    ``preset`` 0 means ``prompt``, other numbers one from the list; ``more`` has the amounts, the locks, and whether to
    protect every open image.
    """

    def run():
        # type: () -> Layer
        run_settings = {
            "prompt": as_text(_get_preset(preset) if preset else prompt),
            "strength": strength,
            "keep_expression": bool(keep_expression),
            "faces": faces,
            "output": output,
            "mode": mode,
            "prior": prior,
            "steps": int(steps),
            "seed": int(seed),
        }
        run_settings.update((name, int(share)) for (name, _, _), share in zip(settings.AMOUNTS, more))
        locks = more[len(settings.AMOUNTS) : -1]
        run_settings.update((name, bool(locked)) for (name, _, _), locked in zip(settings.LOCKS, locks))
        if more[-1] and len(gimp.image_list()) > 1:
            return gimp2_images.protect_all(image, drawable, run_settings)
        return gimp2_run.protect(image, drawable, run_settings)

    return run_guarded(run)


def check_protection(image, drawable, what, original, original_file, upload, report):
    # type: (Image, Drawable, str, str, str, bool, str) -> str
    """Shows the recognisers' verdicts on the image; returns the figures as JSON."""
    return run_guarded(
        lambda: json.dumps(
            gimp2_run.check(image, drawable, what, original or "", original_file or "", bool(upload), report or "")
        )
    )


def strengthen_protection(image, drawable, original, steps):
    # type: (Image, Drawable, str, int) -> Layer
    """Adds one more layer on top, which makes up for the user's edits, and returns it."""
    return run_guarded(lambda: gimp2_run.strengthen(image, drawable, original or "", int(steps)))


def run_worker(do):
    # type: (str) -> str
    """Does one of the worker's services and shows the answer; returns it as JSON."""

    def ask():
        # type: () -> str
        answer = service.perform(do, connect_with_progress, show_progress)
        gimp.message(to_native(service.describe(do, answer)))
        return json.dumps(answer)

    return run_guarded(ask)


def _get_preset(number):
    # type: (int) -> str
    """A makeup style of the list, counted from 1.

    Raises:
        Refused: there is none with that number.
    """
    if not 1 <= number <= len(settings.PRESETS):
        raise Refused("preset-unknown", number=number, count=len(settings.PRESETS))
    return settings.PRESETS[number - 1]


def _make_radio(name, label, values):
    # type: (str, str, Sequence[tuple[str, str]]) -> tuple[Any, ...]
    """A parameter with a list of values and their labels, the default first."""
    choices = tuple((to_native(text), to_native(value)) for value, text in values)
    return (PF_RADIO, name, label, choices[0][1], choices)


ON_A_LAYER = [(PF_IMAGE, "image", _("Image"), None), (PF_DRAWABLE, "drawable", _("Layer"), None)]
ORIGINAL = (PF_STRING, "original", _("Name of the _original layer; empty above a result of Protect Face"), "")
STEPS = (PF_SPINNER, "steps", _("Number of s_teps; 0 for the usual number"), 0, (0, 10000, 1))


def _add(name, blurb, explanation, label, kinds, params, results, function):
    # type: (str, str, str, str, str, list[Any], list[Any], Callable[..., object]) -> None
    author = "Protect Face"
    register(
        name,
        blurb,
        explanation,
        author,
        author,
        "2026",
        label,
        kinds,
        params,
        results,
        function,
        MENU,
        (DOMAIN, LOCALE),
    )


_add(
    PROTECT,
    N_("Keeps people unrecognisable to face recognition while they stay themselves to everyone else"),
    N_("Adds a layer with makeup, light and shape that face-recognition software does not see through."),
    N_("_Protect Face…"),
    KINDS,
    ON_A_LAYER
    + [
        (PF_STRING, "prompt", _("Ma_keup style, in plain words"), to_native(settings.DEFAULT_PROMPT)),
        (
            PF_OPTION,
            "preset",
            _("…or one of these"),
            0,
            (_("As written above"),) + tuple(map(to_native, settings.PRESETS)),
        ),
        (PF_SLIDER, "strength", _("_Strength, from discreet to strong"), settings.DEFAULT_STRENGTH, (0.0, 1.0, 0.05)),
        (PF_TOGGLE, "keep_expression", _("Keep e_xpression"), settings.DEFAULT_KEEP_EXPRESSION),
        _make_radio("faces", _("Faces"), settings.FACES),
        _make_radio("output", _("Result"), settings.OUTPUTS),
        _make_radio("mode", _("Direction"), settings.MODES),
        _make_radio("prior", _("Change by"), settings.PRIORS),
        STEPS,
        (PF_SPINNER, "seed", _("Random see_d"), 0, (0, 2**31 - 1, 1)),
    ]
    + [
        (PF_SLIDER, name, to_native(blurb), settings.FULL_AMOUNT, (0, settings.MAX_AMOUNT, 1))
        for name, _label, blurb in settings.AMOUNTS
    ]
    + [(PF_TOGGLE, name, to_native(label), False) for name, _part, label in settings.LOCKS]
    + [(PF_TOGGLE, "all_images", _("All o_pen images, each with its active layer (for folders: c2p batch)"), False)],
    [(PF_LAYER, "layer", _("The new layer"))],
    protect_face,
)
_add(
    CHECK,
    N_("Tells what recognisers say of the image as it looks now"),
    N_("Compares the visible image with the original layer, face by face and recogniser by recogniser."),
    N_("_Check Protection…"),
    KINDS,
    ON_A_LAYER
    + [
        _make_radio("what", _("What is judged"), settings.CHECK_TARGETS),
        ORIGINAL,
        (PF_FILENAME, "original_file", _("_File of the original, instead of a layer; none when empty"), ""),
        (PF_TOGGLE, "upload", _("As _uploaded, too"), False),
        (PF_FILENAME, "report", _("File for a text _report; none when empty"), ""),
    ],
    [(PF_STRING, "figures", _("What was measured, as JSON"))],
    check_protection,
)
_add(
    STRENGTHEN,
    N_("Searches again from the image as it looks now, and keeps your edits"),
    N_("Adds one more layer on top that makes up for what your edits took away from the protection."),
    N_("_Strengthen Protection…"),
    KINDS,
    ON_A_LAYER + [ORIGINAL, STEPS],
    [(PF_LAYER, "layer", _("The new layer"))],
    strengthen_protection,
)
_add(
    WORKER,
    N_("Shows, restarts and examines the program behind Protect Face"),
    N_("The worker holds the models and does the searching; it starts by itself and ends when idle."),
    N_("Protect Face _Worker…"),
    "",
    [_make_radio("do", _("What to do with the worker"), service.SERVICES)],
    [(PF_STRING, "answer", _("What it said, as JSON"))],
    run_worker,
)
main()
