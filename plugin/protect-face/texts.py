"""The plug-in's words in the user's language, and the one error that it shows."""

from __future__ import annotations

import gettext
from pathlib import Path

DOMAIN = "protect-face"
_ = gettext.translation(DOMAIN, Path(__file__).resolve().parent / "locale", fallback=True).gettext


class Refused(Exception):
    """Ends a procedure: one sentence in the user's language that says what happened and what to do."""
