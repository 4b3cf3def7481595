"""A real GIMP and a worker of its own for the tests in this folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import worker_client
from PIL import Image
from skimage import data
from worker_client.location import WorkerLocation

from tests.host import gimp as host
from tests.host.gimp import Gimp
from tests.host.gimp210 import Gimp210
from tests.host.portrait import PORTRAIT
from tests.host.root import NoRoot

Host = TypeVar("Host", Gimp, Gimp210)


@pytest.fixture(scope="session")
def gimp() -> Iterator[Gimp]:
    with prepare_in_share(host.prepare_gimp, "GIMP") as prepared:
        yield prepared


@contextmanager
def prepare_in_share(prepare: Callable[[Path], Host], name: str) -> Iterator[Host]:
    """A GIMP in a folder of its own with two photos in it; ends it, and the worker that it started."""
    share = Path(tempfile.mkdtemp(prefix="pf-gimp-"))
    try:
        Image.fromarray(data.astronaut()).save(share / "astronaut.png")
        Image.fromarray(PORTRAIT).save(share / "portrait.png")
        try:
            gimp = prepare(share)
        except NoRoot as reason:
            pytest.skip(f"NOT TESTED IN A REAL {name}: {reason}")
        try:
            yield gimp
        finally:
            gimp.console.close()
            stop_worker(share / "run")
    finally:
        shutil.rmtree(share)


def stop_worker(run: Path) -> None:
    """Ends the worker that GIMP started there, if any, and waits for it."""
    worker_client.stop(WorkerLocation("tests", [], str(run), {}))
