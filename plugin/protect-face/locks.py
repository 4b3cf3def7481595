"""The tick boxes for parts of the face that keep their shape."""

from __future__ import annotations

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import GimpUi, Gtk  # noqa: E402
from worker_client.settings import LOCKS  # noqa: E402

_COLUMNS = 2


def build_locks(dialog: GimpUi.ProcedureDialog) -> Gtk.Widget:
    """A tick box for the expression as a whole, and below it one for each part."""
    grid = Gtk.Grid(row_spacing=2, column_spacing=12)
    grid.attach(dialog.get_widget("keep-expression", Gtk.CheckButton), 0, 0, _COLUMNS, 1)
    for number, (name, _part, _label) in enumerate(LOCKS):
        lock = dialog.get_widget(name.replace("_", "-"), Gtk.CheckButton)
        grid.attach(lock, number % _COLUMNS, 1 + number // _COLUMNS, 1, 1)
    grid.show_all()
    return grid
