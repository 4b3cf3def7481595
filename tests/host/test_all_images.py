"""One run over all open images of GIMP: each with its selected layer, and nothing of one image depends on another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from worker_client.messages import Message

from tests.error_assertions import sentence
from tests.host.gimp import Gimp, count_jobs, count_jobs_and_done, suspend_job_after
from tests.host.test_interruptions import kill_plug_in, wait_until

pytestmark = pytest.mark.host

# The last of them has no face; of the second a layer above the photo is selected, and of the first the photo.
THREE = """
    (front, source), (other, photo) = portrait(), portrait()
    other.flip(Gimp.OrientationType.HORIZONTAL)
    cover = Gimp.Layer.new(other, "cover", SIDE, SIDE, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
    other.insert_layer(cover, None, 0)
    other.set_selected_layers([photo])
    empty = Gimp.Image.new(300, 200, Gimp.ImageBaseType.RGB)
    sky = Gimp.Layer.new(empty, "sky", 300, 200, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
    empty.insert_layer(sky, None, 0)
    three, everywhere = (front, other, empty), {"all-images": True}
"""


def test_each_open_image_gets_its_layer_and_one_without_a_face_is_named_with_the_reason(gimp: Gimp) -> None:
    outcome = gimp.script(
        THREE
        + """
    status, error = protect(front, source, prompt="red lipstick", **everywhere)
    kept = [
        json.loads(bytes(image.get_layers()[at].get_parasite("protect-face").get_data()))["wishes"]
        for image, at in ((front, 0), (other, 1))
    ]
    report(status=status, error=error, names=list(map(names, three)), same=kept[0] == kept[1])
    """
    )
    assert outcome.results["status"] == "success", outcome.results["error"]
    first, second, third = outcome.results["names"]
    assert first == ["red lipstick", "Background"] and second == ["cover", "red lipstick", "Background"]
    assert third == ["sky"] and outcome.results["same"]
    assert "Images with a new layer: 2 of 3." in outcome.output
    assert f"Left out: {Message('no-face').text()}" in outcome.output


def test_repeat_runs_over_all_open_images_again(gimp: Gimp) -> None:
    last = gimp.share / "profile" / "plug-in-settings" / "GimpProcedureConfigRun-plug-in-protect-face.last"
    last.parent.mkdir(exist_ok=True)
    last.write_text('(prompt "pink lipstick")\n(steps 2)\n(all-images yes)\n')
    try:
        outcome = gimp.script(
            THREE
            + """
    repeat = {"run-mode": Gimp.RunMode.WITH_LAST_VALS}
    status, error, _ = call("plug-in-protect-face", front, [source], **repeat)
    report(status=status, error=error, names=list(map(names, three)))
    """
        )
    finally:
        last.unlink()
    assert outcome.results["names"] == [
        ["pink lipstick", "Background"],
        ["cover", "pink lipstick", "Background"],
        ["sky"],
    ]
    assert "Images with a new layer: 2 of 3." in outcome.output


def test_if_no_image_can_be_protected_the_run_fails_with_the_reason_for_each(gimp: Gimp) -> None:
    results = gimp.script(
        THREE
        + """
    for image in (front, other):
        image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 64, False, False, "")
    status, error = protect(empty, sky, **everywhere)
    report(status=status, error=error, names=list(map(names, three)))
    """
    ).results
    assert results["status"] == "execution-error" and sentence("no-image-protected").search(results["error"])
    assert (
        results["error"].count(Message("image-indexed").text()) == 2 and Message("no-face").text() in results["error"]
    )
    assert results["names"] == [["Background"], ["cover", "Background"], ["sky"]]


def test_cancelling_keeps_finished_images_and_leaves_the_others_unchanged(gimp: Gimp) -> None:
    gimp.script("call('plug-in-protect-face-worker', do='status')")  # which starts the worker
    _, before = count_jobs_and_done(gimp)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            gimp.script,
            THREE
            + """
    status, error = protect(front, source, steps=5, **everywhere)
    report(status=status, names=list(map(names, three)), images=len(Gimp.get_images()))
    """,
        )
        # GIMP lists the newest image first. The search of the second one comes after the looks for faces in all three
        # and the search of the first.
        with suspend_job_after(gimp, before + 4):
            kill_plug_in(gimp)  # as GIMP's Cancel does
        results = run.result().results
    assert results["status"] != "success" and results["images"] == 3
    assert results["names"] == [["natural makeup", "Background"], ["cover", "Background"], ["sky"]]
    wait_until(lambda: not count_jobs(gimp), 30)
