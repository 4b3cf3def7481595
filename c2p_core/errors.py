"""Every error that a user can meet: one sentence that says what happened and what to do, and an exit code."""

from __future__ import annotations


class C2PError(Exception):
    """Base of all errors that are reported to the user as one sentence.

    Attributes:
        exit_code: what ``c2p`` and ``install.py`` end with when nothing else went wrong.
    """

    exit_code = 1


class BadRequest(C2PError):
    """An option or argument has no meaning: unknown recogniser, strength 7, face number that is not there."""

    exit_code = 2


class UnreadableImage(C2PError):
    """The input is not a picture that we can read: missing, a directory, empty, truncated, too large, animated."""

    exit_code = 3


class NoFace(C2PError):
    """The picture was read, but there is no face in it that can be protected."""

    exit_code = 4


class CannotWrite(C2PError):
    """The result could not be stored: read-only target, no space."""

    exit_code = 5


class ModelUnavailable(C2PError):
    """A model file is missing, could not be fetched, or its hash is wrong."""

    exit_code = 6


class Cancelled(C2PError):
    """The caller asked to stop; nothing was changed."""

    exit_code = 7
