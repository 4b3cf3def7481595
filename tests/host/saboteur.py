#!/usr/bin/env python3
"""A plug-in for tests only: does something to the image while the real one is at work, as a user would.

It waits for SHARE/go and then runs SHARE/sabotage.py, with ``image`` being the first open image.
"""

import os
import sys
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, GLib  # noqa: E402

SHARE = Path(os.environ["SHARE"])


class Saboteur(Gimp.PlugIn):
    def do_set_i18n(self, _name):
        return False

    def do_query_procedures(self):
        return ["test-saboteur"]

    def do_create_procedure(self, name):
        return Gimp.Procedure.new(self, name, Gimp.PDBProcType.PERSISTENT, self.wait, None)

    def wait(self, procedure, _config, _data):
        procedure.persistent_ready()
        self.persistent_enable()
        GLib.timeout_add(50, self.look)
        GLib.MainLoop().run()

    def look(self):
        if (SHARE / "go").exists():
            (SHARE / "go").unlink()
            exec((SHARE / "sabotage.py").read_text(), {"Gimp": Gimp, "image": Gimp.get_images()[0]})
            (SHARE / "done").touch()
        return True


Gimp.main(Saboteur.__gtype__, sys.argv)
