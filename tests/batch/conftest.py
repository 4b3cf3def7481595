"""The command `c2p batch` with an engine that only darkens."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import pytest

from c2p_core import cli
from c2p_core.batch.engine import Control, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.commands import batch as command
from tests.batch.darken import darken

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Puts the engine that darkens in place, and remembers what it was asked."""
    asked: list[Job] = []

    def engine(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        asked.append(job)
        yield from darken(items, job, control)

    monkeypatch.setattr(command, "pick_engine", lambda count: engine)
    return asked


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], jobs: list[Job]) -> Run:
    """Runs the command in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = cli.main(["batch", *(str(word) for word in words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
