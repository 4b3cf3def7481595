"""What became of every open image."""

from __future__ import annotations

from collections.abc import Sequence

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("Pango", "1.0")
from gi.repository import GimpUi, Gtk, Pango  # noqa: E402
from worker_client.report import get_disclaimer  # noqa: E402
from worker_client.several_images import Outcome, describe_count, describe_outcome, sort_for_reading  # noqa: E402
from worker_client.texts import _  # noqa: E402

from meter import make_heading  # noqa: E402

_GAP = 12
_WIDEST_NAME = 30  # characters
_TALL = 500


def show(outcomes: Sequence[Outcome]) -> None:
    """Shows a line for each image until the user closes it; those that were left out come first."""
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Protect Face"), role="protect-face-images", use_header_bar=False)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    rows = Gtk.Grid(row_spacing=6, column_spacing=_GAP, border_width=_GAP)
    for number, outcome in enumerate(sort_for_reading(outcomes)):
        name = Gtk.Label(
            label=outcome.name,
            tooltip_text=outcome.name,
            xalign=0,
            yalign=0,
            ellipsize=Pango.EllipsizeMode.MIDDLE,
            width_chars=min(len(outcome.name), _WIDEST_NAME),  # an ellipsis alone is all that it would ask for
            max_width_chars=_WIDEST_NAME,
        )
        text = Gtk.Label(
            label=describe_outcome(outcome),
            xalign=0,
            yalign=0,
            wrap=True,
            hexpand=True,
            width_chars=50,
            max_width_chars=60,
        )
        rows.attach(name, 0, number, 1, 1)
        rows.attach(text, 1, number, 1, 1)
    holder = Gtk.ScrolledWindow(
        hscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_height=True, max_content_height=_TALL
    )
    holder.add(rows)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    box.pack_start(make_heading(describe_count(outcomes)), False, False, 0)
    box.pack_start(holder, True, True, 0)
    box.pack_start(Gtk.Label(label=get_disclaimer(), xalign=0, wrap=True, max_width_chars=60), False, False, 0)
    dialog.get_content_area().pack_start(box, True, True, 0)
    box.show_all()
    dialog.run()
    dialog.destroy()
