"""The filter in a real GIMP 2.10 with real Python-Fu: registration, a real protection by the real worker, refusals."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from worker_client import settings
from worker_client.messages import render

from c2p_core.cli import c2p
from installer import gimp as installing
from installer.gimps import Program
from tests.error_assertions import sentence
from tests.host.conftest import prepare_in_share
from tests.host.gimp import Gimp
from tests.host.gimp210 import Gimp210, prepare_gimp210
from tests.host.portrait import PORTRAIT, SIDE

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture(scope="module")
def gimp210() -> Iterator[Gimp210]:
    with prepare_in_share(prepare_gimp210, "GIMP 2.10") as gimp:
        yield gimp


def test_gimp_knows_the_filter_when_the_installer_asks(gimp210: Gimp210) -> None:
    console = gimp210.share / "gimp-console-2.10"
    console.write_text(f'#!/bin/sh\nexec {shlex.join(gimp210.program())} "$@"\n')
    console.chmod(0o755)
    assert installing.check_registration(Program((str(console),), "system", "2.10.22")) == "there"


def test_the_result_is_a_layer_above_with_a_mask_and_its_settings(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
layer.set_offsets(7, -3)
keep("before", layer)
made = protect(image, layer)
keep("after", layer)
keep("layer", made)
keep("mask", made.mask)
report(
    names=[l.name for l in image.layers], offsets=made.offsets, size=[made.width, made.height], kind=made.type,
    editing_mask=bool(pdb.gimp_layer_get_edit_mask(made)), settings=json.loads(made.parasite_find("protect-face").data),
    tattoo=layer.tattoo,
)
""")
    assert results["names"][0] == "red lipstick" and len(results["names"]) == 2
    assert results["offsets"] == [7, -3] and results["size"] == [SIDE, SIDE]
    assert not results["editing_mask"]
    assert (
        results["settings"]["source"] == results["tattoo"] and results["settings"]["wishes"]["prompt"] == "red lipstick"
    )
    before, after = gimp210.pixels("before", "u1", 3), gimp210.pixels("after", "u1", 3)
    assert np.array_equal(before, after)
    layer, mask = gimp210.pixels("layer", "u1", 4), gimp210.pixels("mask", "u1", 1)[..., 0]
    changed = mask > 0
    assert 0.01 < changed.mean() < 0.5
    assert (layer[changed][:, :3] != before[changed]).any(axis=1).mean() > 0.9
    assert (layer[changed][:, 3] == 255).all() and (layer[~changed][:, 3] == 0).all()
    assert (
        "recognisers no longer match it with other photos" in output and "No protection holds against every" in output
    )


def test_the_selection_limits_the_change_and_keeps_its_feather(gimp210: Gimp210) -> None:
    gimp210.script("""
image, layer = portrait()
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 150, 50, 75, 200)
pdb.gimp_selection_feather(image, 20)
keep("selection", image.selection)
made = protect(image, layer)
keep("mask", made.mask)
report()
""")
    selection, mask = gimp210.pixels("selection", "u1", 1), gimp210.pixels("mask", "u1", 1)
    assert (mask <= selection).all() and (mask[mask > 0] == selection[mask > 0]).all()
    assert ((mask > 0) & (mask < 255)).any()


def test_sixteen_bits_stay_sixteen_bits(gimp210: Gimp210) -> None:
    gimp210.script("""
image, layer = portrait(PRECISION_U16_GAMMA)
keep("before", layer)
made = protect(image, layer, "all", "whole")
keep("layer", made)
report()
""")
    before, whole = gimp210.pixels("before", "<u2", 3), gimp210.pixels("layer", "<u2", 3)
    changed = (whole[..., :3] != before).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    assert (whole[changed][:, :3] % 257 != 0).mean() > 0.9


def test_a_whole_layer_under_a_selection_is_a_copy_that_hides_only_changes(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait(PRECISION_U16_LINEAR)
keep("before", layer)
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 150, 50, 75, 200)
made = protect(image, layer, "all", "whole")
keep("layer", made)
keep("mask", made.mask)
report(kinds=[layer.type, made.type])
""")
    assert results["kinds"][0] == results["kinds"][1]
    before, whole = gimp210.pixels("before", "<u2", 3), gimp210.pixels("layer", "<u2", 3)
    changed, mask = (whole != before).any(axis=2), gimp210.pixels("mask", "<u2", 1)[..., 0]
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows[-1] - rows[0] < 300 and columns[-1] - columns[0] < 300
    hidden = mask == 0
    assert hidden.sum() > 1000 and changed[hidden].mean() > 0.9
    assert (mask[~hidden] == 65535).all() and not hidden[:, 150:225].any()


def protect_and_flatten(gimp210: Gimp210, precision: str) -> np.ndarray:
    gimp210.script(f"""
image, layer = portrait({precision})
protect(image, layer)
shown(image, "shown")
report()
""")
    return gimp210.pixels("shown", "u1", 4)[..., :3].astype(int)


@pytest.fixture(scope="module")
def usual(gimp210: Gimp210) -> np.ndarray:
    return protect_and_flatten(gimp210, "PRECISION_U8_GAMMA")


@pytest.mark.parametrize("precision", ["PRECISION_U16_LINEAR", "PRECISION_FLOAT_LINEAR"])
def test_the_images_transfer_curve_makes_no_difference(gimp210: Gimp210, usual: np.ndarray, precision: str) -> None:
    change = np.abs(usual - PORTRAIT).mean()
    assert np.abs(usual - protect_and_flatten(gimp210, precision)).mean() < 0.2 * change


@pytest.mark.parametrize("precision", ["PRECISION_U32_GAMMA", "PRECISION_HALF_LINEAR", "PRECISION_FLOAT_LINEAR"])
def test_other_precisions_get_a_layer_of_the_same_precision(gimp210: Gimp210, precision: str) -> None:
    results, _ = gimp210.script(f"""
image, layer = portrait({precision})
made = protect(image, layer)
again = pdb.gimp_image_new_with_precision({SIDE}, {SIDE}, RGB, PRECISION_U8_GAMMA)
plain = pdb.gimp_layer_new_from_drawable(made, again)
again.add_layer(plain, 0)
keep("layer", plain)
report(sizes=[layer.bpp // 3, made.bpp // 4])
""")
    first, second = results["sizes"]
    assert first == second
    layer = gimp210.pixels("layer", "u1", 4)
    shown = layer[..., 3] > 0
    difference = np.abs(layer[shown][:, :3].astype(int) - PORTRAIT[shown].astype(int))
    assert 0 < difference.mean() < 40


def test_a_grey_photo_in_a_layer_group_is_protected_there(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
pdb.gimp_image_convert_grayscale(image)
group = pdb.gimp_layer_group_new(image)
pdb.gimp_image_insert_layer(image, group, None, 0)
pdb.gimp_image_reorder_item(image, layer, group, 0)
made = protect(image, layer)
report(parent=made.parent == group, position=pdb.gimp_image_get_item_position(image, made), bpp=made.bpp)
""")
    assert results == {"parent": True, "position": 0, "bpp": 2}


def test_a_locked_layer_is_protected_all_the_same(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
pdb.gimp_item_set_lock_content(layer, True)
pdb.gimp_item_set_lock_position(layer, True)
pdb.gimp_item_set_linked(layer, True)
keep("before", layer)
done = not refused(protect, image, layer, "all", "whole")
keep("after", layer)
made = image.layers[0]
report(done=done, names=[l.name for l in image.layers], linked=bool(made.linked),
     locked=[bool(pdb.gimp_item_get_lock_content(l)) for l in image.layers])
""")
    assert results["done"], output
    assert (
        results["names"] == ["red lipstick", "Background"]
        and results["locked"] == [False, True]
        and not results["linked"]
    )
    assert np.array_equal(gimp210.pixels("before", "u1", 3), gimp210.pixels("after", "u1", 3))


def test_a_whole_layer_of_a_group_is_one_layer_that_looks_like_it(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
group = pdb.gimp_layer_group_new(image)
pdb.gimp_image_insert_layer(image, group, None, 0)
pdb.gimp_image_reorder_item(image, layer, group, 0)
layer.set_offsets(7, -3)
group.add_mask(group.create_mask(ADD_MASK_WHITE))
done = not refused(protect, image, group, "all", "whole")
made = image.layers[0]
keep("layer", made)
report(done=done, group=bool(pdb.gimp_item_is_group(made)), offsets=made.offsets, masked=made.mask is not None,
     name=made.name)
""")
    assert results["done"], output
    assert results["name"] == "red lipstick" and not results["group"]
    assert results["offsets"] == [7, -3] and results["masked"]
    whole = gimp210.pixels("layer", "u1", 4)
    changed = (whole[..., :3] != PORTRAIT).any(axis=2)
    assert 0.01 < changed.mean() < 0.5 and (whole[..., 3] == 255).all()


def test_invalid_choices_are_refused_with_a_message_and_change_nothing(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
pdb.gimp_image_convert_indexed(image, NO_DITHER, MAKE_PALETTE, 64, False, False, "")
indexed = refused(protect, image, layer)
image, layer = portrait()
nothing = refused(protect, image, layer, "selection")
mask = layer.create_mask(ADD_MASK_WHITE)
layer.add_mask(mask)
masked = refused(protect, image, layer.mask)
one = gimp.Image(1, 1, RGB)
dot = gimp.Layer(one, "dot", 1, 1, RGB_IMAGE, 100, LAYER_MODE_NORMAL)
one.add_layer(dot, 0)
tiny = refused(protect, one, dot)
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 260, 260, 50, 50)
inside = refused(protect, image, layer, "selection")
beside = refused(protect, image, layer)
unmade = refused(check, image, layer)
unnamed = refused(strengthen, image, layer, "nobody")
other = layer.copy()
image.add_layer(other)
pdb.gimp_drawable_brightness_contrast(other, 0.2, 0.0)
unwritten = refused(check, image, other, "layer", layer.name, False, "/nowhere/report.txt")
image.remove_layer(other)
unlisted = [refused(lambda: protect(image, layer, preset=number)) for number in (-1, 8)]
report(refused=[indexed, nothing, masked, tiny, inside, beside, unmade, unnamed, unwritten] + unlisted,
     layers=[len(image.layers), len(one.layers)], images=len(gimp.image_list()))
""")
    assert results["refused"] == [True] * 11 and results["layers"] == [1, 1]
    # The two portraits and the dot; no copy of ours is left over.
    assert results["images"] == 3
    for said in (
        sentence("image-indexed"),
        sentence("nothing-selected"),
        sentence("no-layer"),
        sentence("no-face"),
        sentence("no-face-selected"),
        sentence("selection-beside-faces"),
        sentence("original-not-written"),
        sentence("layer-not-found", name="nobody"),
        sentence("report-not-written", path="/nowhere/report.txt"),
        sentence("preset-unknown", number=-1),
        sentence("preset-unknown", number=8),
    ):
        assert said.search(output)


def test_refusals_are_in_the_users_language(gimp210: Gimp210) -> None:
    _, output = gimp210.script_alone(
        """
image, layer = portrait()
refused(protect, image, layer, "selection")
refused(lambda: protect(image, layer, prompt="red " * 100))
report()
""",
        LANGUAGE="de",
    )
    assert "Nichts ist ausgewählt" in output
    # This one the worker says, in English.
    assert "Die Beschreibung ist länger als 300 Zeichen" in output


# One layer per product


PRODUCTS = """
def both(prepare, precision=PRECISION_U8_GAMMA):
    for output in ("layer", "products"):
        image, layer = portrait(precision)
        prepare(image, layer)
        made = protect(image, layer, "all", output, "red lipstick and smoky eyes")
        shown(image, output)
    return image, made

def nothing(image, layer):
    pass
"""


def measure_difference(gimp210: Gimp210) -> int:
    """How far the group is from the single layer, in levels of 255."""
    single, group = (gimp210.pixels(name, "u1", 4).astype(int) for name in ("layer", "products"))
    return int(np.abs(single - group).max())


def test_the_group_of_products_shows_what_the_single_layer_shows(gimp210: Gimp210) -> None:
    results, _ = gimp210.script(
        PRODUCTS
        + """
image, group = both(nothing)
report(name=group.name, children=[layer.name for layer in group.layers], masked=group.mask is not None,
     settings=json.loads(group.parasite_find("protect-face").data)["wishes"]["output"],
     position=pdb.gimp_image_get_item_position(image, group), layers=len(image.layers))
lipstick, = [layer for layer in group.layers if layer.name == "Lipstick"]
lipstick.visible = False
shown(image, "without")
"""
    )
    assert measure_difference(gimp210) <= 1
    assert results["name"] == "red lipstick and smoky eyes" and results["position"] == 0 and results["layers"] == 2
    assert results["children"][-1] == "Reshaped skin" and {"Lipstick", "Eyeshadow"} <= set(results["children"])
    assert results["masked"] and results["settings"] == "products"
    without = gimp210.pixels("without", "u1", 4).astype(int) - gimp210.pixels("products", "u1", 4)
    assert 20 < without.any(axis=2).sum() < 5000, "the lipstick alone is to go"


@pytest.mark.parametrize("precision", ["PRECISION_U16_LINEAR", "PRECISION_HALF_GAMMA", "PRECISION_FLOAT_LINEAR"])
def test_the_group_of_products_shows_the_same_in_every_precision(gimp210: Gimp210, precision: str) -> None:
    gimp210.script(PRODUCTS + f"both(nothing, {precision})\nreport()\n")
    assert measure_difference(gimp210) <= 1


def test_the_group_of_products_shows_the_same_in_grey_with_alpha_an_offset_and_a_feathered_selection(
    gimp210: Gimp210,
) -> None:
    gimp210.script(
        PRODUCTS
        + """
def prepare(image, layer):
    pdb.gimp_image_convert_grayscale(image)
    layer.set_offsets(40, -10)
    layer.opacity = 80.0
    pdb.gimp_image_select_ellipse(image, CHANNEL_OP_REPLACE, 220, 50, 60, 120)
    pdb.gimp_selection_feather(image, 20)

both(prepare)
report()
"""
    )
    assert measure_difference(gimp210) <= 1


# Check and Strengthen


def test_check_gives_the_figures_of_the_command_line_and_follows_the_users_edits(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
made = protect(image, layer)
shown(image, "shown")
report_path = os.path.join(SHARE, "report.txt")
strong = check(image, made, "visible", "", True, report_path)
path = os.path.join(SHARE, "portrait.png")
of_file = check(image, made, path=path)
made.opacity = 5.0
faded = after(check(image, made))
made.visible = False
same = [refused(check, image, layer), refused(check, image, made, path=path)]
# Then the photo itself is visible, and something else is called the original.
other = layer.copy()
image.add_layer(other, 2)
other.name = "other"
pdb.gimp_drawable_brightness_contrast(other, 0.2, 0.0)
there = os.path.join(SHARE, "other.png")
pdb.gimp_file_save(image, other, there, "other.png")
same += [refused(check, image, other, original="other"), refused(check, image, made, path=there)]
report(strong=strong, file=of_file, faded=faded, same=same, images=len(gimp.image_list()))
""")
    Image.fromarray(gimp210.pixels("shown", "u1", 4)[..., :3]).save(gimp210.share / "protected.png")
    command = ["check", str(gimp210.share / "portrait.png"), str(gimp210.share / "protected.png"), "--json"]
    (face,) = json.loads(CliRunner().invoke(c2p, command).stdout)["photos"][0]["faces"]
    ours = [row["after"] for row in results["strong"]["faces"][0]["similarities"]]
    assert ours == pytest.approx([row["after"] for row in face["similarities"]], abs=1e-4)
    assert all(value < 0.99 for value in ours)
    assert all(value > 0.99 for value in results["faded"])
    assert results["same"] == [True] * 4 and sentence("pictures-the-same").search(output)
    assert all(render("original-judged", {"name": name}) in output for name in ("other", "other.png"))
    assert [row["after"] for row in results["file"]["faces"][0]["similarities"]] == pytest.approx(ours, abs=1e-4)
    assert results["file"]["original"] == {"name": "portrait.png", "known": True, "layer": "Background"}
    assert results["images"] == 1, "a file that was compared is still open"
    report = (gimp210.share / "report.txt").read_text(encoding="utf-8")
    assert "After a typical upload (JPEG 75, 1080 pixels wide)" in report and report.strip() in output


def test_check_judges_the_layer_whose_mask_is_being_edited(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
copy = layer.copy()
image.add_layer(copy, 0)
pdb.gimp_drawable_brightness_contrast(copy, -0.2, 0.0)
copy.add_mask(copy.create_mask(ADD_MASK_WHITE))
report(values=after(check(image, copy.mask, "layer", layer.name)))
""")
    assert results["values"] and all(value > 0.9 for value in results["values"])


def test_strengthen_adds_a_layer_on_top_that_keeps_the_users_edits(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
layer.opacity = 90.0
made = protect(image, layer)
paint = gimp.Layer(image, "edit", 20, 20, RGB_IMAGE, 100, LAYER_MODE_NORMAL)
image.add_layer(paint, 0)
paint.set_offsets(215, 100)
pdb.gimp_context_set_foreground((0, 255, 0))
paint.fill(FOREGROUND_FILL)
stronger = strengthen(image, made)
report(names=[l.name for l in image.layers], opacity=stronger.opacity)
shown(image, "shown")
""")
    assert results["names"][:3] == ["red lipstick (strengthened)", "edit", "red lipstick"] and results["opacity"] == 100
    red, green, blue = gimp210.pixels("shown", "u1", 4)[110, 225, :3]
    assert green > 100 and red < 100 and blue < 100


def test_values_that_the_form_keeps_for_the_next_image_do_no_harm(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
kept = os.path.join(SHARE, "kept.txt")
with open(kept, "w") as stream:
    stream.write("of another image")
made = protect(image, layer, output="products", prompt="blush")
other = gimp.Layer(image, "other", 320, 320, RGB_IMAGE, 100, LAYER_MODE_NORMAL)
image.add_layer(other, len(image.layers))
report(values=after(check(image, made.layers[0], "visible", "other")),
     refused=refused(check, image, made, "visible", "", False, kept))
""")
    assert results["values"] and results["refused"] and sentence("report-exists").search(output)
    assert (gimp210.share / "kept.txt").read_text() == "of another image"


def test_in_a_duplicate_of_the_image_the_photo_is_known_by_its_pixels(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
image, layer = portrait()
# So that layers get other numbers in the duplicate.
for _ in range(5):
    spare = layer.copy()
    image.add_layer(spare, 0)
    image.remove_layer(spare)
protect(image, layer)
duplicate = pdb.gimp_image_duplicate(image)
made, photo = duplicate.layers
known = check(duplicate, made)["original"]
photo.fill(FOREGROUND_FILL)
report(known=known, refused=[refused(check, duplicate, made), refused(protect, duplicate, made)],
     layers=len(duplicate.layers))
""")
    assert results["known"] == {"name": "Background", "known": True, "layer": "Background"}
    assert results["refused"] == [True, True] and results["layers"] == 2
    assert sentence("original-not-written").search(output) and sentence("source-unknown").search(output)


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        ("protect(image, layer)", "return job\n"),
        ("protect(image, layer)", "return job.result(on_event)"),
        ("check(image, layer, original=layer.name)", "figures = job.result(show_progress).header"),
    ],
    ids=["while faces are looked for", "while it searches", "while it checks"],
)
def test_cancelling_leaves_no_copies_in_gimp(gimp210: Gimp210, call: str, moment: str) -> None:
    module = gimp210.plug_in / "gimp2_run.py"
    right = module.read_text()
    # GIMP's Cancel is SIGKILL; here it comes when the pictures of a job have been sent.
    assert moment in right
    module.write_text(right.replace(moment, "os.kill(os.getpid(), 9)", 1))
    try:
        results, _ = gimp210.script(f"""
image, layer = portrait()
report(refused=refused(lambda: {call}), images=len(gimp.image_list()))
""")
    finally:
        module.write_text(right)
        # Within a second Python 2.7 takes what it compiled before for that of the restored file.
        module.with_suffix(".pyc").unlink(missing_ok=True)
    assert results == {"refused": True, "images": 1}


# From one GIMP to the other


def test_gimp_3_checks_and_strengthens_what_gimp_210_made(gimp210: Gimp210, gimp: Gimp) -> None:
    gimp210.script("""
image, layer = portrait()
made = protect(image, layer)
path = os.path.join(SHARE, "older.xcf")
pdb.gimp_file_save(image, made, path, path)
report()
""")
    shutil.copy(gimp210.share / "older.xcf", gimp.share)
    results = gimp.script("""
    image = load("older.xcf")
    made = image.get_layers()[0]
    status, error, (figures,) = call("plug-in-protect-face-check", image, [made])
    call("plug-in-protect-face-strengthen", image, [made], steps=2)
    report(figures=json.loads(figures), names=names(image))
    """).results
    assert all(row["after"] < 0.99 for row in results["figures"]["faces"][0]["similarities"])
    assert results["names"] == ["red lipstick (strengthened)", "red lipstick", "Background"]


def test_gimp_210_checks_and_strengthens_what_gimp_3_made(gimp210: Gimp210, gimp: Gimp) -> None:
    gimp.script("""
    image, source = portrait()
    protect(image, source, prompt="red lipstick")
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(str(SHARE / "newer.xcf")), None)
    """)
    shutil.copy(gimp.share / "newer.xcf", gimp210.share)
    results, _ = gimp210.script("""
path = os.path.join(SHARE, "newer.xcf")
image = pdb.gimp_file_load(path, path)
made = image.layers[0]
values = after(check(image, made))
strengthen(image, made)
report(values=values, names=[layer.name for layer in image.layers])
""")
    assert all(value < 0.99 for value in results["values"])
    assert results["names"] == ["red lipstick (strengthened)", "red lipstick", "Background"]


# The rest of the menu


def test_a_run_on_a_result_protects_the_photo_again_above_it_and_hides_the_earlier_result(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
group = protect(image, layer, output="products")
again = protect(image, group.layers[0], prompt="blush")
last = protect(image, layer, prompt="plum lipstick")
report(names=[l.name for l in image.layers], visible=[bool(l.visible) for l in image.layers], photo=layer.tattoo,
     source=json.loads(again.parasite_find("protect-face").data)["source"])
""")
    assert results["names"][:3] == ["plum lipstick", "blush", "red lipstick"] and len(results["names"]) == 4
    assert results["visible"] == [True, False, False, True]
    assert results["source"] == results["photo"]


def test_a_style_from_the_list_replaces_the_typed_one(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
report(name=protect(image, layer, prompt="ignored", preset=2).name)
""")
    assert results["name"] == settings.PRESETS[1]


def test_a_result_and_its_strengthening_remember_keep_expression_and_locks(
    gimp210: Gimp210,
) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
made = protect(image, layer, kept=False, locks=(1, 0, 0, 1))
runs = [json.loads(l.parasite_find("protect-face").data) for l in (made, strengthen(image, made))]
report(kept=[[run[part]["keep_expression"] for part in ("wishes", "settings")] for run in runs],
     locks=[run["settings"]["locks"] for run in runs])
""")
    assert results["kept"] == [[False, False], [False, False]]
    assert results["locks"] == [["brows", "jaw"], ["brows", "jaw"]]


def test_the_papers_prior_gives_a_layer_too(gimp210: Gimp210) -> None:
    results, _ = gimp210.script("""
image, layer = portrait()
report(name=protect(image, layer, prior="stylegan2").name, layers=len(image.layers))
""")
    assert results == {"name": "red lipstick", "layers": 2}


def test_the_worker_reports_its_state_restarts_and_is_diagnosed(gimp210: Gimp210) -> None:
    results, output = gimp210.script("""
def ask(do):
    return json.loads(pdb.python_fu_protect_face_worker(do))

report(before=ask("status"), after=ask("restart"), found=ask("diagnose"))
""")
    assert results["before"]["pid"] != results["after"]["pid"] and results["after"]["hello"]["priors"] == [
        "makeup",
        "stylegan2",
    ]
    assert "protect-face-worker.json" in results["found"]["found by"]
    assert "It has been running for" in output and "run folder: " in output


def test_an_unexpected_error_is_reported_and_leaves_a_log(gimp210: Gimp210) -> None:
    folder = gimp210.share / ".config" / "GIMP" / "2.10"
    module = folder / "plug-ins" / "protect-face-gimp2" / "worker_client" / "faces.py"
    right = module.read_text()
    module.write_text(right.replace("    if faces == SELECTED", "    1 / 0\n    if faces == SELECTED", 1))
    try:
        results, output = gimp210.script("""
image, layer = portrait()
report(refused=refused(protect, image, layer), layers=len(image.layers), images=len(gimp.image_list()))
""")
    finally:
        module.write_text(right)
    assert results == {"refused": True, "layers": 1, "images": 1}
    assert sentence("crashed-unchanged", error="ZeroDivisionError").search(output)
    assert "1 / 0" in (folder / "protect-face.log").read_text()
