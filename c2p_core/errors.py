"""The errors reported to users: each has a code with fields, one English sentence and an exit code."""

from __future__ import annotations

from functools import partial
from typing import Any

from worker_client.errors import Malformed
from worker_client.messages import Message

__all__ = [
    "BadRequest",
    "C2PError",
    "Cancelled",
    "CannotWrite",
    "Malformed",
    "Message",
    "ModelUnavailable",
    "NoFace",
    "UnreadableImage",
    "first_line",
    "get_reason",
    "name_error",
]


def first_line(error: BaseException, limit: int = 160) -> str:
    """The first line of a library's error message, as the reason in one of our sentences; else the error's type.

    Args:
        error: the error.
        limit: of its length in characters.
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:")[:limit] if lines else type(error).__name__


def get_reason(error: BaseException) -> Message | str:
    """Why a file can't be used, as the reason in one of our messages: our own message, or what a library says."""
    if isinstance(error, Malformed):
        return error.message
    if isinstance(error, KeyError) and error.args:
        return Message("key-missing", key=str(error.args[0]))
    return first_line(error)


def name_error(error: BaseException) -> str:
    """The type of an unexpected error and the first line of its message, for a report."""
    kind = type(error).__name__
    return f"{kind}: {first_line(error)}" if str(error).strip() else kind


class C2PError(Exception):
    """Base of all errors that are reported to the user; as text, one sentence: what happened and what to do.

    Attributes:
        message: code and fields; the catalogue ``worker_client.messages`` has the sentence of each code.
        exit_code: what ``c2p`` ends with when nothing else went wrong.
    """

    exit_code = 1

    def __init__(self, code: str, /, **fields: Any) -> None:
        super().__init__(code)
        self.message = Message(code, **fields)

    @property
    def code(self) -> str:
        """What happened, for programs."""
        return self.message.code

    @property
    def fields(self) -> dict[str, Any]:
        """Details by name: JSON values, lists of them, or messages."""
        return self.message.fields

    def __str__(self) -> str:
        return self.message.text()

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it reaches the parent process of a pool with all fields.
        return partial(type(self), self.code, **self.fields), ()


class BadRequest(C2PError):
    """An option or argument is invalid: unknown recogniser, strength 7, face number that does not exist."""

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
