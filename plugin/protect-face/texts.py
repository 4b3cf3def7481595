"""The plug-in's words in the user's language, and the one error that it shows."""

from __future__ import annotations

import gettext
from pathlib import Path
from typing import Any

DOMAIN = "protect-face"
_translation = gettext.translation(DOMAIN, Path(__file__).resolve().parent / "locale", fallback=True)
_ = _translation.gettext
ngettext = _translation.ngettext


class Refused(Exception):
    """Ends a procedure: one sentence in the user's language that says what happened and what to do."""


def sentence(words: str) -> str:
    """The worker's words in the user's language where the catalogue has them; those with figures stay English."""
    return _(words)


def stage(header: dict[str, Any]) -> str:
    """What the worker is doing, from the header of a "progress" or "queued" event."""
    if header.get("kind") == "queued":
        ahead = header["position"]
        return ngettext("Waiting for {} other job…", "Waiting for {} other jobs…", ahead).format(ahead)
    stages = {
        "detect": _("Looking for faces…"),
        "load": _("Loading models…"),
        "prepare": _("Preparing…"),
        "search": _("Searching…"),
        "paste": _("Putting it back…"),
        "verify": _("Checking…"),
        "fetch": _("Fetching models…"),
    }
    words = stages.get(header["stage"], _("Working…"))
    if header.get("faces", 0) > 1:
        words += " " + _("(face {face} of {faces})").format(**header)
    left = header.get("seconds_left")
    if left is not None and header["stage"] == "search":
        words += " " + _("about {} left").format(duration(left))
    return words


def duration(seconds: float) -> str:
    """A time in words, no more exact than it is known."""
    if seconds < 90:
        return _("{} s").format(max(5, round(seconds / 5) * 5))
    return _("{} min").format(round(seconds / 60))


def megabytes(size: int) -> str:
    return _("{} MB").format(max(1, round(size / 1e6)))
