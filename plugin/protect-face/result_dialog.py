"""The result of a run: the meter, and buttons for remedies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import GimpUi, Gtk  # noqa: E402
from worker_client.report import choose_title, list_advice  # noqa: E402
from worker_client.texts import _  # noqa: E402

from meter import Meter, OfferChoice, make_heading  # noqa: E402

_GAP = 12


def show(result: dict[str, Any], offers: Sequence[str]) -> str | None:
    """Shows the result of a run until the user closes the dialog.

    Args:
        result: header of the result of "protect" or "apply".
        offers: what can be done about a poor result.

    Returns:
        the offer that the user chose, see ``run_settings.apply_offer``; None for none.
    """
    GimpUi.init("protect-face")
    dialog = GimpUi.Dialog(title=_("Protect Face"), role="protect-face-result", use_header_bar=False)
    dialog.add_button(_("_Close"), Gtk.ResponseType.CLOSE)
    dialog.set_default_response(Gtk.ResponseType.CLOSE)
    choice = OfferChoice(dialog)
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=_GAP, border_width=_GAP)
    box.pack_start(make_heading(choose_title(result)), False, False, 0)
    meter = Meter(offers, choice.choose)
    box.pack_start(meter, False, False, 0)
    box.pack_start(
        Gtk.Label(label="\n".join(list_advice(result)), xalign=0, wrap=True, max_width_chars=60), False, False, 0
    )
    dialog.get_content_area().pack_start(box, True, True, 0)
    box.show_all()
    meter.show_figures(result)
    dialog.run()
    dialog.destroy()
    return choice.name
