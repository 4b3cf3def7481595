# -*- coding: utf-8 -*-
"""The plug-ins' texts in the user's language; Unicode in Python 2 too."""

from __future__ import unicode_literals

import gettext
import os
import sys

from worker_client.messages import Message, render_message

DOMAIN = str("protect-face")
LOCALE = os.path.join(os.path.dirname(os.path.abspath(__file__)), str("locale"))
_translation = gettext.translation(DOMAIN, LOCALE, fallback=True)

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any

if sys.version_info[0] == 2:
    _ = _translation.ugettext  # novm
    ngettext = _translation.ungettext  # novm
else:
    _ = _translation.gettext
    ngettext = _translation.ngettext


def as_text(text):
    # type: (str | bytes) -> str
    """Text from the system or the host, which is bytes of UTF-8 in Python 2."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def to_sentence(message):
    # type: (Message | dict[str, Any]) -> str
    """A message in the user's language; a dict is one from the worker, or of a ``WorkerProblem``."""
    return message.text(_) if isinstance(message, Message) else render_message(message, _)


def describe_device(hello):
    # type: (dict[str, Any]) -> str
    """The device that the worker computes on, from its hello."""
    return hello["device_name"] or _("{count} processor cores").format(count=hello["cores"])


def describe_profile(hello):
    # type: (dict[str, Any]) -> str
    """Which models the worker uses and why, from its hello; empty if an older worker does not say."""
    return to_sentence(hello["profile"]["why"]) if "profile" in hello else ""


def describe_stage(header):
    # type: (dict[str, Any]) -> str
    """What the worker is doing, from the header of a "progress" or "queued" event, and for which of several images."""
    text = _describe_stage(header)
    if header.get("images", 1) > 1:
        return _("Image {image} of {images}: {what}").format(what=text, image=header["image"], images=header["images"])
    return text


def _describe_stage(header):
    # type: (dict[str, Any]) -> str
    if header.get("kind") == "queued" and header["position"]:
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
    # "queued" with no job ahead means that this one begins.
    text = stages.get(header.get("stage", "prepare"), _("Working…"))
    if header.get("faces", 0) > 1:
        text += " " + _("(face {face} of {faces})").format(**header)
    seconds_left = header.get("seconds_left")
    if seconds_left is not None and header["stage"] == "search":
        text += " " + _("about {} left").format(format_duration(seconds_left))
    return text


def format_duration(seconds):
    # type: (float) -> str
    """A time in words, rounded, because it is an estimate."""
    if seconds < 90:
        return _("{} s").format(max(5, int(round(seconds / 5.0)) * 5))
    return _("{} min").format(int(round(seconds / 60.0)))


def format_megabytes(size):
    # type: (int) -> str
    """A size in words."""
    return _("{} MB").format(max(1, int(round(size / 1e6))))
