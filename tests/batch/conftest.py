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
    """Replaces the engine by one that darkens, and returns the jobs that it receives."""
    received: list[Job] = []

    def engine(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        received.append(job)
        yield from darken(items, job, control)

    monkeypatch.setattr(command, "pick_engine", lambda count: engine)
    return received


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], jobs: list[Job]) -> Run:
    """Runs the command in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["batch", *(str(argument) for argument in arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
