"""The settings that *Repeat* takes."""

from __future__ import annotations

import sys
from pathlib import Path

from gi.repository import Gimp, Gio, GLib


def keep_as_last(config: Gimp.ProcedureConfig, image: Gimp.Image) -> None:
    """Makes the arguments those of the last run, as GIMP does when a run ends: its *Cancel* kills the run before."""
    name = config.__gtype__.name
    file = Path(Gimp.directory()) / "plug-in-settings" / f"{name}.last"
    try:
        config.serialize_to_file(Gio.File.new_for_path(str(file)), "settings", "end of settings", None)
    except GLib.Error as error:
        print(error.message, file=sys.stderr)  # a full disk is no reason to refuse the run
    # GIMP asks the image first.
    image.attach_parasite(config.serialize_to_parasite(f"{name}-last", Gimp.PARASITE_PERSISTENT, None))
