"""The filter in a real GIMP 2.10 with real Python-Fu: registration, a real protection by the real worker, refusals."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from installer import gimp as installing
from installer import plug_in
from installer.gimps import Profile, Program
from tests.host import gimp as host
from tests.host.conftest import stop_worker
from tests.host.root import GIMP210, NoRoot, inside, root_of

pytestmark = [pytest.mark.host, pytest.mark.slow]

PRELUDE = """
import json, os, struct
from gimpfu import *
SHARE = os.environ["SHARE"]
pdb.gimp_plugin_enable_precision()

def tell(**found):
    with open(os.path.join(SHARE, "told.json"), "w") as stream:
        json.dump(found, stream)

def keep(name, drawable):
    # Pixels for the test, as they are.
    rgn = drawable.get_pixel_rgn(0, 0, drawable.width, drawable.height, False, False)
    with open(os.path.join(SHARE, name), "wb") as stream:
        stream.write(rgn[0:drawable.width, 0:drawable.height])

def portrait(precision=PRECISION_U8_GAMMA):
    image = pdb.gimp_file_load(os.path.join(SHARE, "astronaut.png"), "astronaut.png")
    if precision != image.precision:
        pdb.gimp_image_convert_precision(image, precision)
    return image, image.layers[0]

def protect(image, layer, faces="all", output="layer"):
    return pdb.python_fu_protect_face(image, layer, "red lipstick", 0.7, faces, output, "dodge", 2, 0)

def shown(image, name):
    # What is visible, in 8 bits.
    plain = pdb.gimp_image_new_with_precision(1, 1, RGB, PRECISION_U8_GAMMA)
    seen = pdb.gimp_layer_new_from_visible(image, plain, "")
    plain.add_layer(seen, 0)
    keep(name, seen)

def refused(call, *arguments):
    try:
        call(*arguments)
    except RuntimeError:
        return True
    return False
"""


@dataclass
class Gimp210:
    """A GIMP 2.10 in its root folder, with the plug-in installed by the installer."""

    prefix: list[str]
    share: Path

    def program(self, **more: str) -> list[str]:
        """How to start it, with ``more`` in its environment."""
        variables = {
            "HOME": str(self.share),
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "SHARE": str(self.share),
            **more,
        }
        words = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        return [*self.prefix, *words, "gimp-console-2.10"]

    def script(self, text: str, **more: str) -> tuple[dict[str, Any], str]:
        """Runs Python 2.7 in GIMP's console; what it told, and what GIMP printed."""
        told = self.share / "told.json"
        told.unlink(missing_ok=True)
        (self.share / "script.py").write_text(PRELUDE + text)
        batch = f"execfile('{self.share}/script.py')"
        options = ["--no-interface", "--no-data", "--no-fonts", "--batch-interpreter=python-fu-eval"]
        run = subprocess.run(
            [*self.program(**more), *options, "-b", batch, "-b", "pdb.gimp_quit(1)"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )
        words = run.stdout.decode(errors="replace")
        # A script that fails ends with 0 too.
        assert told.exists(), words
        return json.loads(told.read_text()), words

    def pixels(self, name: str, dtype: str, channels: int, size: tuple[int, int] = (512, 512)) -> np.ndarray[Any, Any]:
        """What ``keep`` wrote, (height, width, channels)."""
        return np.fromfile(self.share / name, dtype).reshape(size[1], size[0], channels)


@pytest.fixture(scope="module")
def gimp210() -> Iterator[Gimp210]:
    share = Path(tempfile.mkdtemp(prefix="pf-gimp210-"))
    try:
        try:
            root = root_of(GIMP210)
        except NoRoot as reason:
            pytest.skip(f"NOT TESTED IN A REAL GIMP 2.10: {reason}")
        Image.fromarray(data.astronaut()).save(share / "astronaut.png")
        profile = share / ".config" / "GIMP" / "2.10"
        profile.mkdir(parents=True)
        content = host.pointer(share / "run", in_root=True)
        plug_in.write(Profile(profile, "2.10"), ("protect-face-worker.json", content.encode()))
        try:
            yield Gimp210(inside(root, share), share)
        finally:
            stop_worker(share / "run")
    finally:
        shutil.rmtree(share)


def test_gimp_knows_the_filter_when_the_installer_asks(gimp210: Gimp210) -> None:
    console = gimp210.share / "gimp-console-2.10"
    console.write_text(f'#!/bin/sh\nexec {shlex.join(gimp210.program())} "$@"\n')
    console.chmod(0o755)
    assert installing.ask(Program((str(console),), "system", "2.10.22")) == "there"


def test_the_result_is_a_layer_above_with_a_mask_and_its_settings(gimp210: Gimp210) -> None:
    told, words = gimp210.script("""
image, layer = portrait()
layer.set_offsets(7, -3)
keep("before", layer)
made = protect(image, layer)
keep("after", layer)
keep("layer", made)
keep("mask", made.mask)
tell(
    names=[l.name for l in image.layers], offsets=made.offsets, size=[made.width, made.height], kind=made.type,
    editing_mask=bool(pdb.gimp_layer_get_edit_mask(made)), settings=json.loads(made.parasite_find("protect-face").data),
    tattoo=layer.tattoo, report=pdb.python_fu_protect_face_check(image, made),
)
""")
    assert told["names"][0] == "red lipstick" and len(told["names"]) == 2
    assert told["offsets"] == [7, -3] and told["size"] == [512, 512]
    assert not told["editing_mask"]
    assert told["settings"]["source"] == told["tattoo"] and told["settings"]["wishes"]["prompt"] == "red lipstick"
    before, after = gimp210.pixels("before", "u1", 3), gimp210.pixels("after", "u1", 3)
    assert np.array_equal(before, after)
    layer, mask = gimp210.pixels("layer", "u1", 4), gimp210.pixels("mask", "u1", 1)[..., 0]
    changed = mask > 0
    assert 0.01 < changed.mean() < 0.5
    assert (layer[changed][:, :3] != before[changed]).any(axis=1).mean() > 0.9
    assert (layer[changed][:, 3] == 255).all() and (layer[~changed][:, 3] == 0).all()
    assert "recogni" in told["report"] and "recogni" in words


def test_the_selection_limits_the_change_and_keeps_its_feather(gimp210: Gimp210) -> None:
    gimp210.script("""
image, layer = portrait()
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 150, 50, 75, 200)
pdb.gimp_selection_feather(image, 20)
keep("selection", image.selection)
made = protect(image, layer)
keep("mask", made.mask)
tell()
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
tell()
""")
    before, whole = gimp210.pixels("before", "<u2", 3), gimp210.pixels("layer", "<u2", 3)
    changed = (whole[..., :3] != before).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    assert (whole[changed][:, :3] % 257 != 0).mean() > 0.9


def test_a_whole_layer_under_a_selection_is_a_copy_that_hides_only_changes(gimp210: Gimp210) -> None:
    told, _ = gimp210.script("""
image, layer = portrait(PRECISION_U16_LINEAR)
keep("before", layer)
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 150, 50, 75, 200)
made = protect(image, layer, "all", "whole")
keep("layer", made)
keep("mask", made.mask)
tell(kinds=[layer.type, made.type])
""")
    assert told["kinds"][0] == told["kinds"][1]
    before, whole = gimp210.pixels("before", "<u2", 3), gimp210.pixels("layer", "<u2", 3)
    changed, mask = (whole != before).any(axis=2), gimp210.pixels("mask", "<u2", 1)[..., 0]
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows[-1] - rows[0] < 300 and columns[-1] - columns[0] < 300
    hidden = mask == 0
    assert hidden.sum() > 1000 and changed[hidden].mean() > 0.9
    assert (mask[~hidden] == 65535).all() and not hidden[:, 150:225].any()


@pytest.mark.parametrize("precision", ["PRECISION_U16_LINEAR", "PRECISION_FLOAT_LINEAR"])
def test_the_curve_of_the_image_makes_no_difference(gimp210: Gimp210, precision: str) -> None:
    seen = []
    for name in ("PRECISION_U8_GAMMA", precision):
        gimp210.script(f"""
image, layer = portrait({name})
protect(image, layer)
shown(image, "shown")
tell()
""")
        seen.append(gimp210.pixels("shown", "u1", 4)[..., :3].astype(int))
    change = np.abs(seen[0] - data.astronaut()).mean()
    assert np.abs(seen[0] - seen[1]).mean() < 0.2 * change


@pytest.mark.parametrize("precision", ["PRECISION_U32_GAMMA", "PRECISION_HALF_LINEAR", "PRECISION_FLOAT_LINEAR"])
def test_other_precisions_get_a_layer_of_their_own_kind(gimp210: Gimp210, precision: str) -> None:
    told, _ = gimp210.script(f"""
image, layer = portrait({precision})
made = protect(image, layer)
again = pdb.gimp_image_new_with_precision(512, 512, RGB, PRECISION_U8_GAMMA)
plain = pdb.gimp_layer_new_from_drawable(made, again)
again.add_layer(plain, 0)
keep("layer", plain)
tell(sizes=[layer.bpp // 3, made.bpp // 4])
""")
    first, second = told["sizes"]
    assert first == second
    layer = gimp210.pixels("layer", "u1", 4)
    shown = layer[..., 3] > 0
    difference = np.abs(layer[shown][:, :3].astype(int) - data.astronaut()[shown].astype(int))
    assert 0 < difference.mean() < 40


def test_a_grey_photo_in_a_layer_group_is_protected_there(gimp210: Gimp210) -> None:
    told, _ = gimp210.script("""
image, layer = portrait()
pdb.gimp_image_convert_grayscale(image)
group = pdb.gimp_layer_group_new(image)
pdb.gimp_image_insert_layer(image, group, None, 0)
pdb.gimp_image_reorder_item(image, layer, group, 0)
made = protect(image, layer)
tell(parent=made.parent == group, position=pdb.gimp_image_get_item_position(image, made), bpp=made.bpp)
""")
    assert told == {"parent": True, "position": 0, "bpp": 2}


def test_what_cannot_be_protected_is_refused_with_a_sentence_and_nothing_changes(gimp210: Gimp210) -> None:
    told, words = gimp210.script("""
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
pdb.gimp_image_select_rectangle(image, CHANNEL_OP_REPLACE, 400, 400, 50, 50)
inside = refused(protect, image, layer, "selection")
beside = refused(protect, image, layer)
unmade = refused(pdb.python_fu_protect_face_check, image, layer)
tell(refused=[indexed, nothing, masked, tiny, inside, beside, unmade], layers=[len(image.layers), len(one.layers)],
     images=len(gimp.image_list()))
""")
    assert told["refused"] == [True] * 7 and told["layers"] == [1, 1]
    # The two portraits and the dot; no copy of ours is left over.
    assert told["images"] == 3
    for sentence in (
        "An indexed image has too few colours",
        "Nothing is selected",
        "A mask or channel can't be protected",
        "No face was found",
        "No face lies inside the selection",
        "The selection holds no part of a face",
        "Select the layer that Protect Face made",
    ):
        assert sentence in words


def test_refusals_are_in_the_users_language(gimp210: Gimp210) -> None:
    _, words = gimp210.script(
        """
image, layer = portrait()
refused(protect, image, layer, "selection")
tell()
""",
        LANGUAGE="de",
    )
    assert "Es ist nichts ausgewählt" in words
