"""Runs that the user, GIMP or the system interrupts: the image is never half-changed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from worker_client.messages import Message

from tests.host.gimp import (
    Gimp,
    add_saboteur,
    count_jobs,
    count_jobs_and_done,
    find_compute_process,
    find_plug_in_processes,
    read_endpoint_file,
    suspend_job_after,
)

pytestmark = pytest.mark.host

# For layers of products: the default prompt paints none.
MADE_UP = "red lipstick and smoky eyes"

A_RUN = """
    image, source = portrait()
    status, error = protect(image, source, **{arguments})
    there = image.is_valid()
    seen = visible(image) if there and image.get_layers() else b""
    for layer in image.get_layers()[:-1] if there else []:
        layer.set_visible(False)
    report(
        changed=sum(a != b for a, b in zip(seen, visible(image) if seen else b"")),
        status=status, error=error, images=len(Gimp.get_images()), names=names(image) if there else [],
        offsets=list(image.get_layers()[0].get_offsets())[1:] if there else [],
    )
"""


@pytest.fixture(scope="module", autouse=True)
def warm_worker(gimp: Gimp) -> None:
    """So that the search begins soon after a run does."""
    gimp.script("call('plug-in-protect-face-worker', do='status')")


@pytest.fixture(scope="module")
def watched(gimp: Gimp) -> Gimp:
    """A GIMP in which something can be done to the image during a run."""
    add_saboteur(gimp)
    return gimp


def run_while(gimp: Gimp, sabotage: str, **arguments: Any) -> dict[str, Any]:
    """A run during which ``sabotage`` happens to ``image``; the search stands still meanwhile, so that it can't win."""
    (gimp.share / "sabotage.py").write_text(sabotage)
    done = gimp.share / "done"
    done.unlink(missing_ok=True)

    def interfere() -> None:
        (gimp.share / "go").touch()
        wait_until(done.exists, 60)

    return act_during_run(gimp, interfere, suspended=True, steps=2, **arguments)


def test_when_the_source_is_deleted_the_result_goes_on_top(watched: Gimp) -> None:
    results = run_while(watched, "image.remove_layer(image.get_layers()[0])")
    assert results["status"] == "success", results["error"]
    assert results["names"] == ["natural makeup"]


def test_a_whole_layer_of_a_deleted_source_shows_what_changed(watched: Gimp) -> None:
    results = run_while(watched, "image.remove_layer(image.get_layers()[0])", output="whole")
    assert results["status"] == "success", results["error"]
    assert results["names"] == ["natural makeup"]


def test_when_the_source_is_moved_the_result_follows_it(watched: Gimp) -> None:
    results = run_while(watched, "image.get_layers()[0].set_offsets(12, 34)")
    assert results["status"] == "success", results["error"]
    assert results["offsets"] == [12, 34]


@pytest.mark.parametrize(
    ("edit", "output"),
    [
        ("image.crop(200, 300, 100, 20)", "layer"),
        ("image.scale(400, 400)", "whole"),
        ("image.crop(200, 300, 100, 20)", "products"),
    ],
)
def test_when_the_source_gets_another_size_the_user_is_told_to_run_it_again(
    watched: Gimp, edit: str, output: str
) -> None:
    results = run_while(watched, edit, output=output, prompt=MADE_UP)
    assert results["status"] == "execution-error" and results["error"] == Message("layer-resized").text()
    assert results["names"] == ["Background"]


def test_when_the_source_is_flipped_the_user_is_told_to_run_it_again(watched: Gimp) -> None:
    results = run_while(watched, "image.flip(Gimp.OrientationType.HORIZONTAL)")
    assert results["status"] == "execution-error" and results["error"] == Message("layer-turned").text()
    assert results["names"] == ["Background"]


def test_a_source_locked_during_the_run_is_protected_all_the_same(watched: Gimp) -> None:
    results = run_while(watched, "image.get_layers()[0].set_lock_content(True)")
    assert results["status"] == "success", results["error"]
    assert results["names"][0] == "natural makeup"


def test_an_image_closed_during_the_run_stays_closed(watched: Gimp) -> None:
    """GIMP keeps it until the procedure ends, or the plug-in says that it was closed; either way nothing is left."""
    results = run_while(watched, "image.delete()")
    assert results["status"] == "success" or results["error"] == Message("image-closed").text()
    assert results["images"] == 0


def test_an_image_that_becomes_indexed_during_the_run_is_an_error(watched: Gimp) -> None:
    convert = (
        "image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 64, False, False, '')"
    )
    results = run_while(watched, convert)
    assert results["status"] == "execution-error" and results["error"] == Message("image-became-indexed").text()
    assert len(results["names"]) == 1


def test_an_image_that_becomes_grey_during_the_run_gets_grey_products(watched: Gimp) -> None:
    results = run_while(watched, "image.convert_grayscale()", output="products", prompt=MADE_UP)
    assert results["status"] == "success", results["error"]
    assert results["changed"] > 2000


def test_cancel_kills_the_plug_in_and_leaves_image_and_worker_in_order(gimp: Gimp) -> None:
    """GIMP's Cancel is SIGKILL to the plug-in. How soon the worker has stopped then is what the benchmark measures."""

    def cancel() -> None:
        process = find_compute_process(gimp)
        kill_plug_in(gimp)
        wait_until(lambda: not count_jobs(gimp), 30)
        # It stopped by itself, within a step: by force its models would be gone too.
        assert find_compute_process(gimp).pid == process.pid

    results = act_during_run(gimp, cancel, steps=5000)
    assert results["status"] != "success" and results["names"] == ["Background"]


MOMENTS = """
    import time
    outcomes = []
    image, source = portrait()
    for number in range({count}):
        while not (SHARE / f"go-{number}").exists():
            time.sleep(0.02)
        output = ["layer", "products"][number % 2]
        status, error = protect(image, source, prompt={prompt!r}, output=output, seed=number)
        (SHARE / f"ended-{number}").touch()
        outcomes.append([status, names(image)])
        for layer in image.get_layers()[:-1]:
            image.remove_layer(layer)
    report(outcomes=outcomes, images=len(Gimp.get_images()))
"""


def test_cancelling_at_any_moment_leaves_a_whole_result_or_none(gimp: Gimp) -> None:
    moments = [0.0, 0.1, 0.25, 0.45, 0.7, 1.0, 1.4, 1.8]

    def cancel() -> None:
        for number, moment in enumerate(moments):
            ended = gimp.share / f"ended-{number}"
            (gimp.share / f"go-{number}").touch()
            wait_until(lambda: find_plug_in_processes(gimp.plug_in), 60)
            time.sleep(moment)
            kill_plug_in(gimp)  # unless a quick machine was done before the moment came
            wait_until(ended.exists, 60)

    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(cancel)
        script = MOMENTS.replace("{count}", str(len(moments))).replace("{prompt!r}", repr(MADE_UP))
        results = gimp.script(script).results
        cancelling.result()
    assert results["images"] == 1
    for status, layers in results["outcomes"]:
        assert layers == ([MADE_UP, "Background"] if status == "success" else ["Background"])
    assert any(status != "success" for status, _ in results["outcomes"])
    wait_until(lambda: not count_jobs(gimp), 30)


def test_a_killed_worker_is_reported_and_the_next_run_works(gimp: Gimp) -> None:
    results = act_during_run(gimp, lambda: os.kill(read_endpoint_file(gimp)["pid"], signal.SIGKILL), steps=5000)
    assert results["status"] == "execution-error" and results["error"] == Message("worker-gone").text()
    assert results["names"] == ["Background"]
    assert gimp.script("report(said=protect(*portrait()))").results["said"][0] == "success"


def test_killing_gimp_ends_the_search(gimp: Gimp) -> None:
    process = gimp.start(A_RUN.replace("{arguments}", repr({"steps": 5000})))
    wait_until(lambda: count_jobs(gimp) == 1, 60)
    process.kill()
    process.communicate(timeout=30)
    # Of a search that would take many minutes.
    wait_until(lambda: not count_jobs(gimp), 30)
    wait_until(lambda: not find_plug_in_processes(gimp.plug_in), 30)


def test_two_gimps_at_once_each_get_their_layer(gimp: Gimp) -> None:
    script = A_RUN.replace("{arguments}", "{}")
    both = {name: gimp.start(script, RESULTS=name) for name in ("first.json", "second.json")}
    for name, process in both.items():
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        results = json.loads((gimp.share / name).read_text())
        assert results["status"] == "success" and results["names"] == ["natural makeup", "Background"], results


def wait_until(true: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def act_during_run(
    gimp: Gimp, action: Callable[[], object], suspended: bool = False, **arguments: Any
) -> dict[str, Any]:
    """A run of the plug-in, with ``action`` done during its search, which is its second job."""
    _, before = count_jobs_and_done(gimp)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(gimp.script, A_RUN.replace("{arguments}", repr(arguments)))
        with suspend_job_after(gimp, before + 1):
            if suspended:
                action()
        if not suspended:
            action()
        return run.result().results


def kill_plug_in(gimp: Gimp) -> None:
    for process in find_plug_in_processes(gimp.plug_in):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
            process.kill()
