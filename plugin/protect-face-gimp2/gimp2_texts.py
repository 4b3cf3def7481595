"""Texts for GIMP 2.10, which needs bytes of UTF-8; Python 2.7."""

from worker_client import texts


def _(text):
    # type: (str) -> str
    """The text in the user's language.

    Python 2.7 passes bytes here, but the catalogue has non-ASCII texts only as Unicode.
    """
    return to_native(texts._(texts.as_text(text)))


def N_(text):
    # type: (str) -> str
    """Marks a text that GIMP or gimpfu translates when it shows it."""
    return text


def to_native(text):
    # type: (object) -> str
    """Unicode as bytes of UTF-8 for GIMP."""
    return text if isinstance(text, str) else text.encode("utf-8")  # type: ignore[attr-defined]
