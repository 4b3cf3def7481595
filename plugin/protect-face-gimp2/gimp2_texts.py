"""The plug-in's words in the user's language, and the one error that it shows; Python 2.7."""

import gettext
import os

DOMAIN = "protect-face-gimp2"
LOCALE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "locale")
_translations = gettext.translation(DOMAIN, LOCALE, fallback=True)


def _(text):
    # type: (str) -> str
    """The text in the user's language, as GIMP 2.10 takes it: bytes of UTF-8 in Python 2."""
    return native(_translations.gettext(text))


def N_(text):
    # type: (str) -> str
    """Marks a text that GIMP or gimpfu translates when it shows it."""
    return text


def native(text):
    # type: (object) -> str
    """A sentence of the worker's, which is Unicode, as GIMP 2.10 takes it."""
    return text if isinstance(text, str) else text.encode("utf-8")  # type: ignore[attr-defined]


class Refused(Exception):
    """Ends a run: one sentence that says what happened and what to do. The image is as it was."""
