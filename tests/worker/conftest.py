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
from worker_client.place import Place

FAKE = Path(__file__).with_name("fake_worker.py")

MakePlace = Callable[..., Place]


@pytest.fixture(scope="module")
def make_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePlace]:
    """Makes places of workers; what runs there is ended after the tests."""
    made: list[Place] = []

    def make(*options: str, tune: dict[str, Any] | None = None) -> Place:
        home = tmp_path_factory.mktemp("home")
        command = [sys.executable, "-I", "-u", str(FAKE), *options, "--tune", json.dumps(tune or {})]
        place = Place("test", command, str(home / "run"), {"C2P_HOME": str(home)})
        made.append(place)
        return place

    yield make
    for place in made:
        for process in psutil.process_iter(["cmdline"]):
            if place.run in (process.info["cmdline"] or ()):
                process.kill()


@pytest.fixture(scope="module")
def place(make_place: MakePlace) -> Place:
    """A worker that several tests use."""
    return make_place(tune={"_STOP_SECONDS": 0.5, "_HANDSHAKE_SECONDS": 0.5})


@pytest.fixture
def worker(place: Place) -> Iterator[worker_client.Worker]:
    with worker_client.connect(place=place) as connected:
        yield connected
