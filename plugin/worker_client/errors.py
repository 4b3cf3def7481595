"""Errors as codes with fields; they are put into words where the user reads them."""

import sys

from worker_client.messages import Message

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any


class Malformed(ValueError):
    """Content breaks the rules of its format; the error that it leads to has the reason as a field.

    Attributes:
        message: the reason.
    """

    def __init__(self, code, **fields):
        # type: (str, **Any) -> None
        ValueError.__init__(self, code)
        self.message = Message(code, **fields)

    def __str__(self):
        # type: () -> str
        return _to_str(self.message.text())


class WorkerProblem(Exception):
    """An error for the user; as text, one English sentence that says what happened and what to do.

    Attributes:
        message: a dict of code, fields and English text; ``texts.to_sentence`` translates it into the user's language.
    """

    def __init__(self, code, **fields):
        # type: (str, **Any) -> None
        self.message = Message(code, **fields).described()
        Exception.__init__(self, code)

    @classmethod
    def from_worker(cls, header):
        # type: (dict[str, Any]) -> WorkerProblem
        """The error in a worker's "error" message; a worker newer than this client may know more codes."""
        problem = cls.__new__(cls)
        problem.message = {name: header.get(name) for name in ("code", "fields", "text")}
        return problem

    @property
    def code(self):
        # type: () -> str
        """What happened, for programs; ``messages`` lists the codes."""
        return "%s" % (self.message["code"],)

    @property
    def fields(self):
        # type: () -> dict[str, Any]
        """The details, by name."""
        return dict(self.message["fields"] or {})

    def __str__(self):
        # type: () -> str
        return _to_str("%s" % (self.message["text"],))


class Refused(WorkerProblem):
    """Ends a procedure before or after the worker's part of it; the image is unchanged."""


def _to_str(text):
    # type: (str) -> str
    """What ``__str__`` returns for a text: bytes in Python 2."""
    return text.encode("utf-8") if sys.version_info[0] == 2 else text  # type: ignore[return-value]
