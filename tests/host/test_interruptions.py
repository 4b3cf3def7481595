"""What happens to a run when the user, GIMP or the system gets in its way: the image is never half-changed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import worker_client

from tests.host.gimp import Gimp, add_saboteur

pytestmark = pytest.mark.host

LONG_RUN = """
    image, source = portrait()
    (SHARE / "go").touch()
    status, error = protect(image, source, **{arguments})
    tell(
        status=status, error=error, interfered=(SHARE / "done").exists(), valid=image.is_valid(),
        names=names(image) if image.is_valid() else [],
        offsets=list(image.get_layers()[0].get_offsets())[1:] if image.is_valid() else [],
    )
"""


@pytest.fixture(scope="module")
def watched(gimp: Gimp) -> Gimp:
    """A GIMP in which something can be done to the image during a run."""
    add_saboteur(gimp)
    return gimp


@pytest.fixture(autouse=True)
def no_leftovers(gimp: Gimp) -> Iterator[None]:
    yield
    for name in ("go", "done"):
        (gimp.share / name).unlink(missing_ok=True)


def run_while(gimp: Gimp, sabotage: str, arguments: str = "{'steps': 12}") -> dict[str, Any]:
    """A run during which ``sabotage`` happens to ``image``."""
    (gimp.share / "sabotage.py").write_text(sabotage)
    told = gimp.script(LONG_RUN.replace("{arguments}", arguments)).told
    assert told["interfered"]
    return told


def test_when_the_source_is_deleted_the_result_goes_on_top(watched: Gimp) -> None:
    told = run_while(watched, "image.remove_layer(image.get_layers()[0])")
    assert told["status"] == "success", told["error"]
    assert told["names"] == ["natural makeup"]


def test_a_whole_layer_of_a_deleted_source_shows_what_changed(watched: Gimp) -> None:
    told = run_while(watched, "image.remove_layer(image.get_layers()[0])", '{"steps": 12, "output": "whole"}')
    assert told["status"] == "success", told["error"]
    assert told["names"] == ["natural makeup"]


def test_when_the_source_is_moved_the_result_follows_it(watched: Gimp) -> None:
    told = run_while(watched, "image.get_layers()[0].set_offsets(12, 34)")
    assert told["status"] == "success", told["error"]
    assert told["offsets"] == [12, 34]


def test_a_source_that_is_locked_meanwhile_does_not_matter(watched: Gimp) -> None:
    told = run_while(watched, "image.get_layers()[0].set_lock_content(True)")
    assert told["status"] == "success", told["error"]
    assert told["names"][0] == "natural makeup"


def test_an_image_that_is_closed_meanwhile_gets_a_sentence(watched: Gimp) -> None:
    told = run_while(watched, "image.delete()")
    assert told["status"] == "execution-error" and told["error"].startswith("The image was closed during the run;")


def test_an_image_that_becomes_indexed_meanwhile_gets_a_sentence(watched: Gimp) -> None:
    convert = "image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 64, False, False, '')"
    told = run_while(watched, convert)
    assert told["status"] == "execution-error" and "became indexed" in told["error"]
    assert len(told["names"]) == 1


def test_cancel_kills_the_plug_in_and_leaves_image_and_worker_in_order(gimp: Gimp) -> None:
    """GIMP's Cancel is SIGKILL to the plug-in."""
    told = during_the_search(gimp, lambda: kill_plug_in(gimp))
    assert told["status"] != "success" and told["names"] == ["Background"]
    until = time.monotonic() + 5
    while jobs(gimp):
        assert time.monotonic() < until, "the worker went on after its client had gone"
        time.sleep(0.1)


def test_a_killed_worker_gets_a_sentence_and_the_next_run_works(gimp: Gimp) -> None:
    told = during_the_search(gimp, lambda: os.kill(endpoint(gimp)["pid"], signal.SIGKILL))
    assert told["status"] == "execution-error" and "try again, it starts by itself" in told["error"]
    assert told["names"] == ["Background"]
    assert gimp.script("tell(said=protect(*portrait()))").told["said"][0] == "success"


def during_the_search(gimp: Gimp, action: Callable[[], object]) -> dict[str, Any]:
    """A run of many minutes, with ``action`` done as soon as the worker has its job."""
    gimp.script("tell(said=call('plug-in-protect-face-worker', do='status')[0])")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(gimp.script, """
            image, source = portrait()
            status, error = protect(image, source, steps=5000)
            tell(status=status, error=error, names=names(image))
        """)  # fmt: skip
        until = time.monotonic() + 60
        while "protect" not in jobs(gimp):
            assert time.monotonic() < until and not run.done(), run
            time.sleep(0.1)
        action()
        return run.result().told


def endpoint(gimp: Gimp) -> dict[str, Any]:
    return dict(json.loads((gimp.run_folder / "worker.json").read_text()))


def jobs(gimp: Gimp) -> list[str]:
    """Kinds of the jobs that the worker has, without this question."""
    place = worker_client.Place("tests", [], str(gimp.run_folder), {})
    with worker_client.connect(client="tests", place=place) as worker:
        (status,) = [event for event in worker.submit("status").events() if event.kind == "result"]
    return status.header["queue"]


def kill_plug_in(gimp: Gimp) -> None:
    for process in psutil.process_iter(["cmdline"]):
        if any(str(gimp.plug_in / "protect-face.py") in word for word in process.info["cmdline"] or []):
            process.kill()
