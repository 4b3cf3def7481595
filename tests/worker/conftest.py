"""Workers of their own for the tests: real processes and sockets, with jobs that compute nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import worker_client
from worker_client.location import WorkerLocation

FAKE = Path(__file__).with_name("fake_worker.py")

MakeLocation = Callable[..., WorkerLocation]


@pytest.fixture(scope="module")
def make_location(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeLocation]:
    """Makes places of workers; what runs there is ended after the tests."""
    made: list[WorkerLocation] = []

    def make(*options: str, tune: dict[str, Any] | None = None) -> WorkerLocation:
        home = tmp_path_factory.mktemp("home")
        command = [sys.executable, "-I", "-u", str(FAKE), *options, "--tune", json.dumps(tune or {})]
        location = WorkerLocation("test", command, str(home / "run"), {"C2P_HOME": str(home)})
        made.append(location)
        return location

    yield make
    for location in made:
        for process in psutil.process_iter(["cmdline"]):
            if location.run_folder in (process.info["cmdline"] or ()):
                process.kill()


@pytest.fixture(scope="module")
def location(make_location: MakeLocation) -> WorkerLocation:
    """A worker that several tests use."""
    return make_location(tune={"_STOP_SECONDS": 0.5, "_HANDSHAKE_SECONDS": 0.5})


@pytest.fixture
def worker(location: WorkerLocation) -> Iterator[worker_client.Worker]:
    with worker_client.connect(location=location) as connected:
        yield connected
