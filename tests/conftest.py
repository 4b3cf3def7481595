"""A real face for the tests: scikit-image's astronaut, found once."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
import torch
from skimage import data

from c2p_core import verify
from c2p_core.api import Face
from c2p_core.faces import find_faces
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import to_tensor
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with long tests first, for at the end, short ones keep every process of pytest's busy.

    Those in GIMP, which wait a lot, alternate with those that compute; of each kind, the ones with most tests lead,
    and those that need GIMP 2.10, which may not be built yet, come last.
    """
    tests = Counter(item.path for item in items)
    late = {item.path for item in items if "gimp210" in getattr(item, "fixturenames", ())}
    last = len(items)  # which is 0 while they are sorted
    places: dict[Path, int] = {}
    for kind in ("slow", "host"):
        paths = {item.path for item in items if item.get_closest_marker(kind)}
        places |= {
            path: place for place, path in enumerate(sorted(paths, key=lambda path: (path in late, -tests[path], path)))
        }
    items.sort(key=lambda item: places.get(item.path, last))


@pytest.fixture(scope="session", autouse=True)
def one_thread_a_worker() -> None:
    """Workers run side by side; more threads than cores would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """A run of the tests that nohup or a script started ignores some of them, and so would all that it tests."""
    for number in (signal.SIGINT, *(getattr(signal, name) for name in ("SIGHUP", "SIGTERM") if hasattr(signal, name))):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session")
def store() -> ModelStore:
    return ModelStore()


@pytest.fixture(scope="session")
def warm() -> WarmModels:
    """Models that stay loaded, for tests that are not about loading them."""
    return WarmModels()


@pytest.fixture(scope="session")
def astronaut() -> Photo:
    return Photo(data.astronaut())


@pytest.fixture(scope="session")
def astronaut_face(astronaut: Photo, store: ModelStore) -> Face:
    (face,) = find_faces(astronaut, store)
    return face


@pytest.fixture(scope="session")
def astronaut_canvas(astronaut: Photo, astronaut_face: Face) -> CanvasFace:
    return verify.crop_face(to_tensor(to_srgb(astronaut)), astronaut_face)
