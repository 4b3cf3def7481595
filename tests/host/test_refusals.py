"""What can't be done ends with one sentence that says what to do, and the image stays as it was."""

from __future__ import annotations

import shutil

import pytest
from worker_client.constants import PROTOCOL
from worker_client.messages import Message

from tests.error_assertions import sentence
from tests.fetchable import SIZE
from tests.host import gimp as host
from tests.host.conftest import stop_worker
from tests.host.gimp import Gimp

pytestmark = pytest.mark.host

# What is done to the portrait (``image``, ``chosen``) and what the user then reads.
CASES = {
    "indexed": (
        "image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 64, False, False, '')",
        "image-indexed",
    ),
    "floating selection": (
        "image.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 10, 50, 50); Gimp.Selection.float(image, [source], 5, 5)",
        "floating-selection",
    ),
    "no layer": ("chosen = []", "not-one-layer"),
    "two layers": (
        "other = source.copy(); image.insert_layer(other, None, 0); chosen = [source, other]",
        "not-one-layer",
    ),
    "a mask": (
        "mask = source.create_mask(Gimp.AddMaskType.WHITE); source.add_mask(mask); chosen = [mask]",
        "no-layer",
    ),
    "one pixel": (
        "source = Gimp.Layer.new(image, 'dot', 1, 1, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL);"
        "image.insert_layer(source, None, 0); chosen = [source]",
        "no-face",
    ),
    "30,000 pixels wide": (
        "image.resize(30000, 600, 0, 0); source = Gimp.Layer.new(image, 'wide', 30000, 600, Gimp.ImageType.RGB_IMAGE,"
        " 100, Gimp.LayerMode.NORMAL); image.insert_layer(source, None, 0); chosen = [source]",
        "no-face",
    ),
    "nothing selected": ("settings['faces'] = 'selection'", "nothing-selected"),
    "no face in the selection": (
        "image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 300, 100, 100); settings['faces'] = 'selection'",
        "no-face-selected",
    ),
    "a selection beside the face": (
        "image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 300, 100, 100)",
        "selection-beside-faces",
    ),
    "a prompt of 400 characters": ("settings['prompt'] = 'x' * 400", "prompt-too-long"),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_choices_are_refused_with_one_message_and_change_nothing(gimp: Gimp, case: str) -> None:
    action, code = CASES[case]
    results = gimp.script(f"""
        image, source = portrait()
        chosen, settings = [source], {{"steps": 2}}
        {action}
        before = len(image.get_layers())
        status, error, _ = call("plug-in-protect-face", image, chosen, **settings)
        report(status=status, error=error, added=len(image.get_layers()) - before)
    """).results
    assert results["status"] == "execution-error" and results["added"] == 0
    assert sentence(code).fullmatch(results["error"])


def test_a_face_in_a_layer_of_30000_pixels_is_protected(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        source.scale(1024, 1024, False)
        wide = Gimp.Layer.new(image, "wide", 30000, 1024, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
        image.insert_layer(wide, None, 0)
        buffer = wide.get_buffer()
        source.get_buffer().copy(rect(source), Gegl.AbyssPolicy.NONE, buffer, Gegl.Rectangle.new(20000, 0, 1024, 1024))
        buffer.flush()
        status, error = protect(image, wide)
        report(status=status, error=error, names=names(image))
    """).results
    assert results["names"][0] == "natural makeup", results["error"]


def test_a_locked_layer_in_a_locked_group_is_protected_all_the_same(gimp: Gimp) -> None:
    results = gimp.script("""
        image, source = portrait()
        group = Gimp.GroupLayer.new(image, "group")
        image.insert_layer(group, None, 0)
        image.reorder_item(source, group, 0)
        for layer in (source, group):
            layer.set_lock_content(True)
            layer.set_lock_position(True)
            layer.set_lock_visibility(True)
        source.set_lock_alpha(True)
        before = pixels(source)
        status, error = protect(image, source)
        inside = [layer.get_name() for layer in group.get_children()]
        report(status=status, error=error, inside=inside, same=before == pixels(source))
    """).results
    assert results["inside"] == ["natural makeup", "Background"] and results["same"], results["error"]


def test_without_an_installed_worker_the_user_is_told_to_install_it(gimp: Gimp) -> None:
    pointer = gimp.plug_in / "protect-face-worker.json"
    hidden = pointer.rename(pointer.with_suffix(".hidden"))
    try:
        results = gimp.script("report(said=protect(*portrait()))").results
    finally:
        hidden.rename(pointer)
    assert results["said"] == ["execution-error", Message("worker-not-installed").text()]


def test_a_worker_of_another_protocol_version_is_named(gimp: Gimp) -> None:
    pointer = gimp.plug_in / "protect-face-worker.json"
    right = pointer.read_text()
    pointer.write_text(right.replace(f'"protocol": {PROTOCOL}', '"protocol": 7'))
    try:
        status, error = gimp.script("report(said=protect(*portrait()))").results["said"]
    finally:
        pointer.write_text(right)
    differs = Message("installed-protocol-differs", plug_in=PROTOCOL, worker=7)
    assert (status, error) == ("execution-error", differs.text())


def test_missing_models_are_offered_with_their_sizes_and_the_others_suffice(
    gimp: Gimp, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer, bare = gimp.plug_in / "protect-face-worker.json", gimp.share / "bare"
    right = pointer.read_text()
    monkeypatch.setenv("C2P_MODELS", str(bare / "models"))
    monkeypatch.setenv("C2P_OFFLINE", "1")
    checkout = host.copy_checkout_with_missing_models(bare / "checkout")
    pointer.write_text(host.make_pointer(bare / "run", in_root=bool(gimp.prefix), checkout=checkout))
    try:
        results = gimp.script("""
            _status, _error, (answer,) = call("plug-in-protect-face-worker", do="status")
            fetched = call("plug-in-protect-face-worker", do="fetch")[:2]
            report(missing=json.loads(answer)["hello"]["models"]["missing"], fetched=fetched, said=protect(*portrait()))
        """).results
    finally:
        pointer.write_text(right)
        stop_worker(bare / "run")
        shutil.rmtree(bare)
    assert {model["name"]: model["size"] for model in results["missing"]} == {"one": SIZE, "two": SIZE}
    assert results["fetched"][0] == "execution-error" and sentence("model-offline").fullmatch(results["fetched"][1])
    assert results["said"] == ["success", ""]


def test_a_layer_deleted_while_the_dialog_is_open_is_an_error(gimp: Gimp) -> None:
    dialog = gimp.plug_in / "dialog.py"
    right = dialog.read_text()
    dialog.write_text("def ask(_procedure, _config, source):\n    return source.image.remove_layer(source.layer)\n")
    try:
        results = gimp.script("""
            image, source = portrait()
            interactive = {"run-mode": Gimp.RunMode.INTERACTIVE}
            report(said=call("plug-in-protect-face", image, [source], **interactive)[:2])
        """).results
    finally:
        dialog.write_text(right)
    assert results["said"][0] == "execution-error" and results["said"][1] == Message("layer-deleted").text()


def test_an_error_after_the_layer_was_inserted_says_that_it_is_there(gimp: Gimp) -> None:
    module = gimp.plug_in / "worker_client" / "report.py"
    right = module.read_text()
    module.write_text(
        right.replace("def summarise_result(", "def summarise_result(_):\n    return {}['unheard']\n\n\ndef unused(", 1)
    )
    try:
        results = gimp.script("""
            image, source = portrait()
            status, error = protect(image, source)
            report(status=status, error=error, names=names(image))
        """).results
    finally:
        module.write_text(right)
    assert results["names"] == ["natural makeup", "Background"]
    assert results["status"] == "execution-error"
    assert sentence("crashed-after-layer", error="KeyError").fullmatch(results["error"])
    assert "unheard" in (gimp.share / "profile" / "protect-face.log").read_text()


def test_an_error_while_the_layer_is_inserted_removes_it_again(gimp: Gimp) -> None:
    module = gimp.plug_in / "layers.py"
    right = module.read_text()
    module.write_text(right.replace("            image.set_selected_layers([layer])\n", "            1 / 0\n", 1))
    try:
        results = gimp.script("""
            image, source = portrait()
            status, error = protect(image, source, prompt="red lipstick", output="products")
            report(status=status, error=error, names=names(image))
        """).results
    finally:
        module.write_text(right)
    assert results["status"] == "execution-error" and results["names"] == ["Background"]
    assert sentence("crashed-unchanged", error="ZeroDivisionError").fullmatch(results["error"])


def test_an_unexpected_error_is_reported_and_leaves_a_log(gimp: Gimp) -> None:
    module = gimp.plug_in / "run.py"
    right = module.read_text()
    module.write_text(right.replace("def detect(", "def detect(*_):\n    return 1 / 0\n\n\ndef unused(", 1))
    try:
        status, error = gimp.script("report(said=protect(*portrait()))").results["said"]
    finally:
        module.write_text(right)
    log = gimp.share / "profile" / "protect-face.log"
    assert status == "execution-error"
    assert sentence("crashed-unchanged", error="ZeroDivisionError", log=log).fullmatch(error)
    assert "1 / 0" in log.read_text()
