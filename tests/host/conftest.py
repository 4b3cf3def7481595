"""A real GIMP 3 and a worker of its own for the tests in this folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import worker_client
from PIL import Image
from skimage import data
from worker_client.location import WorkerLocation

from tests.host import gimp as host
from tests.host.gimp import Gimp
from tests.host.root import NoRoot


@pytest.fixture(scope="session")
def gimp() -> Iterator[Gimp]:
    share = Path(tempfile.mkdtemp(prefix="pf-gimp-"))
    try:
        Image.fromarray(data.astronaut()).save(share / "astronaut.png")
        try:
            gimp = host.prepared(share)
            yield gimp
            gimp.console.close()
        except NoRoot as reason:
            pytest.skip(f"NOT TESTED IN A REAL GIMP: {reason}")
        finally:
            stop_worker(share / "run")
    finally:
        shutil.rmtree(share)


def stop_worker(run: Path) -> None:
    """Ends the worker that GIMP started there, if any, and waits for it."""
    worker_client.stop(WorkerLocation("tests", [], str(run), {}))
