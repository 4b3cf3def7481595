"""Short words for what the tests do with a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import worker_client
from worker_client import Event, Picture


def ask(worker: worker_client.Worker, pictures: Iterable[Picture] = (), **header: Any) -> Event:
    """The last event of a job that does what ``header`` says."""
    return list_events(worker.submit("protect", header, pictures))[-1]


def list_events(job: worker_client.Job) -> list[Event]:
    """All events of a job but the empty ones."""
    return [event for event in job.events(0.05) if event.kind != "waiting"]


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return value


def fetch_status(worker: worker_client.Worker) -> dict[str, Any]:
    return list_events(worker.submit("status"))[-1].header
