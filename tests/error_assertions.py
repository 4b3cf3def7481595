"""What an error or a sentence says, by code and fields rather than by its words."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from worker_client import WorkerProblem
from worker_client.messages import ENGLISH

from benchmarks.errors import BenchmarkError
from c2p_core.errors import C2PError
from installer.messages import MESSAGES


@contextmanager
def raising(
    kind: type[C2PError] | type[WorkerProblem] | type[BenchmarkError], code: str, **fields: Any
) -> Iterator[None]:
    """Like ``pytest.raises`` for an error with this code and, among its fields, these.

    A field given as a pattern has to have it somewhere in its text.
    """
    with pytest.raises(kind) as caught:
        yield
    error = cast("C2PError | WorkerProblem | BenchmarkError", caught.value)
    assert error.code == code, error
    for name, expected in fields.items():
        value = error.fields[name]
        assert expected.search(str(value)) if isinstance(expected, re.Pattern) else value == expected, (name, value)


def sentence(code: str, **fields: object) -> re.Pattern[str]:
    """What finds the English sentence of a code with these fields; gaps that are not given may hold anything."""
    return _match_template(ENGLISH[code], fields)


def installer_sentence(code: str, **fields: object) -> re.Pattern[str]:
    """The same for a code of the installer."""
    return _match_template(MESSAGES[code], fields)


def _match_template(template: str, fields: dict[str, object]) -> re.Pattern[str]:
    parts = []
    for text, name, form, _ in string.Formatter().parse(template):
        parts.append(re.escape(text))
        if name is not None:
            parts.append(re.escape(format(fields[name], form or "")) if name in fields else ".*")
    return re.compile("".join(parts))
