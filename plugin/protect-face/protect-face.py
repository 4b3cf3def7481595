#!/usr/bin/env python3
"""Protect Face for GIMP 3: registers the procedures. Other modules show dialogs and talk to the worker."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, Gio, GObject  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from worker_client.texts import _  # noqa: E402

import all_images  # noqa: E402
import check  # noqa: E402
import run_settings  # noqa: E402
import worker_menu  # noqa: E402
from last_settings import keep_as_last  # noqa: E402
from layers import find_photo  # noqa: E402
from procedures import guard_procedure, run_and_show  # noqa: E402

PROTECT = "plug-in-protect-face"
CHECK = "plug-in-protect-face-check"
STRENGTHEN = "plug-in-protect-face-strengthen"
WORKER = "plug-in-protect-face-worker"
MENU = "<Image>/Filters/" + _("Privacy")
# GIMP sorts menu entries by path and label; these sections, which the menu does not have, only set the order.
MENU_SECTIONS = {PROTECT: "[1]", CHECK: "[2]", STRENGTHEN: "[3]", WORKER: "[4]"}
HELP = Path(__file__).resolve().parent / "worker_client" / "help"
HELP_DOMAIN = "protect-face"  # as in its index


class ProtectFace(Gimp.PlugIn):
    """The plug-in that GIMP sees."""

    def do_set_i18n(self, _procedure: str) -> bool:
        return False  # texts.py does it, also for the words of the worker

    def do_query_procedures(self) -> list[str]:
        self.set_help_domain(HELP_DOMAIN, Gio.File.new_for_path(str(HELP)))
        return [PROTECT, CHECK, STRENGTHEN, WORKER]

    def do_create_procedure(self, name: str) -> Gimp.Procedure:
        make = {PROTECT: _create_protect, CHECK: _create_check, STRENGTHEN: _create_strengthen, WORKER: _create_worker}[
            name
        ]
        return make(self)


def _create_protect(plug_in: Gimp.PlugIn) -> Gimp.Procedure:
    procedure = _create_image_procedure(plug_in, PROTECT, _run_protect, _("_Protect Face…"))
    procedure.set_documentation(
        _("Keeps people unrecognisable to face recognition while they stay themselves to everyone else"),
        _("Adds a layer with makeup, light and shape that face-recognition software does not see through."),
        PROTECT,
    )
    run_settings.declare(procedure)
    return procedure


def _create_check(plug_in: Gimp.PlugIn) -> Gimp.Procedure:
    procedure = _create_image_procedure(plug_in, CHECK, check.run_check, _("_Check Protection…"))
    procedure.set_documentation(
        _("Tells what recognisers say of the image as it looks now"),
        _("Compares the visible image with the original layer, face by face and recogniser by recogniser."),
        CHECK,
    )
    check.declare(procedure)
    return procedure


def _create_strengthen(plug_in: Gimp.PlugIn) -> Gimp.Procedure:
    procedure = _create_image_procedure(plug_in, STRENGTHEN, check.run_strengthen, _("_Strengthen Protection"))
    procedure.set_documentation(
        _("Searches again from the image as it looks now, and keeps your edits"),
        _("Adds one more layer on top that makes up for what your edits took away from the protection."),
        STRENGTHEN,
    )
    check.declare_strengthen(procedure)
    return procedure


def _create_worker(plug_in: Gimp.PlugIn) -> Gimp.Procedure:
    procedure = Gimp.Procedure.new(
        plug_in, WORKER, Gimp.PDBProcType.PLUGIN, guard_procedure(worker_menu.run_worker), None
    )
    procedure.set_menu_label(_("Protect Face _Worker…"))
    procedure.add_menu_path(f"{MENU}/{MENU_SECTIONS[WORKER]}")
    procedure.set_documentation(
        _("Shows, restarts and examines the program behind Protect Face"),
        _("The worker holds the models and does the searching; it starts by itself and ends when idle."),
        WORKER,
    )
    procedure.set_attribution("Protect Face", "Protect Face", "2026")
    worker_menu.declare(procedure)
    return procedure


def _create_image_procedure(plug_in: Gimp.PlugIn, name: str, run: Callable[..., object], label: str) -> Gimp.Procedure:
    procedure = Gimp.ImageProcedure.new(plug_in, name, Gimp.PDBProcType.PLUGIN, guard_procedure(run), None)
    procedure.set_image_types("RGB*, GRAY*")
    procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
    procedure.set_menu_label(label)
    procedure.add_menu_path(f"{MENU}/{MENU_SECTIONS[name]}")
    procedure.set_attribution("Protect Face", "Protect Face", "2026")
    return procedure


def _run_protect(
    procedure: Gimp.Procedure,
    mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: list[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    _data: object,
) -> list[GObject.Value] | None:
    choice = None
    if mode == Gimp.RunMode.INTERACTIVE:
        import dialog  # GTK is only loaded where there is a window

        choice = dialog.ask(procedure, config, find_photo(image, drawables))
        if choice is None:
            return None
        keep_as_last(config, image)
    settings = run_settings.read_config(config)
    if config.get_property(run_settings.ALL_IMAGES) and len(Gimp.get_images()) > 1:
        all_images.run_and_show(mode, image, drawables, settings, choice)
    else:
        # Looked up again, because the image could be edited while the dialog was open.
        run_and_show(mode, find_photo(image, drawables), settings, choice)
    return []


Gimp.main(ProtectFace.__gtype__, sys.argv)
