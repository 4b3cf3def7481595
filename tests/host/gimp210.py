"""A real GIMP 2.10 with real Python-Fu for the tests: runs scripts in its console."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from hatch_build import compile_all
from installer import plug_in
from installer.gimps import Profile
from tests.host import gimp as host
from tests.host.console import SECONDS, SERVE, Console
from tests.host.portrait import SIDE
from tests.host.root import GIMP210, find_root, make_root_command

PRELUDE = """
import json, os, struct
from gimpfu import *
SHARE = os.environ["SHARE"]
pdb.gimp_plugin_enable_precision()

def report(**results):
    with open(os.path.join(SHARE, "results.json"), "w") as stream:
        json.dump(results, stream)

def keep(name, drawable):
    # Pixels for the test, as they are.
    rgn = drawable.get_pixel_rgn(0, 0, drawable.width, drawable.height, False, False)
    with open(os.path.join(SHARE, name), "wb") as stream:
        stream.write(rgn[0:drawable.width, 0:drawable.height])

def portrait(precision=PRECISION_U8_GAMMA):
    image = pdb.gimp_file_load(os.path.join(SHARE, "portrait.png"), "portrait.png")
    if precision != image.precision:
        pdb.gimp_image_convert_precision(image, precision)
    return image, image.layers[0]

def protect(image, layer, faces="all", output="layer", prompt="red lipstick", preset=0, prior="makeup", steps=2,
            kept=True, locks=(0, 0, 0, 0), all_images=0):
    return pdb.python_fu_protect_face(image, layer, prompt, preset, 0.5, kept, faces, output, "dodge", prior, steps, 0,
                                       100, 100, 100, 100, *(locks + (all_images,)))

def check(image, layer, what="visible", original="", upload=False, report="", path=""):
    return json.loads(pdb.python_fu_protect_face_check(image, layer, what, original, path, upload, report))

def strengthen(image, layer, original=""):
    return pdb.python_fu_protect_face_strengthen(image, layer, original, 2)

def after(figures):
    return [row["after"] for row in figures["faces"][0]["similarities"]]

def shown(image, name):
    # What is visible, in 8 bits.
    plain = pdb.gimp_image_new_with_precision(1, 1, RGB, PRECISION_U8_GAMMA)
    seen = pdb.gimp_layer_new_from_visible(image, plain, "")
    plain.add_layer(seen, 0)
    keep(name, seen)
    gimp.delete(plain)

def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except RuntimeError:
        return True
    return False
"""
# Of the console that stays, after each script.
_CLEAN_UP = "[gimp.delete(image) for image in gimp.image_list()], pdb.gimp_context_set_defaults()"


@dataclass
class Gimp210:
    """A GIMP 2.10 in its root folder, with the plug-in installed by the installer.

    Attributes:
        prefix: beginning of every command.
        share: folder that GIMP and the tests both see under this name.
        console: runs the scripts that need no GIMP of their own.
    """

    prefix: list[str]
    share: Path
    console: Console

    @property
    def plug_in(self) -> Path:
        return self.share / ".config" / "GIMP" / "2.10" / "plug-ins" / "protect-face-gimp2"

    def program(self, **more: str) -> list[str]:
        """How to start it, with ``more`` in its environment."""
        variables = {
            "HOME": str(self.share),
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "SHARE": str(self.share),
            **more,
        }
        arguments = ["env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        return [*self.prefix, *arguments, "gimp-console-2.10"]

    def script(self, text: str) -> tuple[dict[str, Any], str]:
        """Runs Python 2.7 in a GIMP in which other scripts ran before; what it reported, and what GIMP printed."""
        results = self._clear_results()
        output = self.console.run(self._write(text), self._start_console)
        return _read_outcome(results, output)

    def script_alone(self, text: str, **more: str) -> tuple[dict[str, Any], str]:
        """The same in a GIMP of its own, with ``more`` in its environment."""
        results = self._clear_results()
        process = self._start(f"execfile('{self._write(text)}')", subprocess.PIPE, more)
        output, _ = process.communicate(timeout=SECONDS)
        return _read_outcome(results, output.decode(errors="replace"))

    def _start_console(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        serve = shutil.copy(SERVE, self.share)
        batch = f"execfile('{serve}'); serve(lambda: ({_CLEAN_UP}))"
        return self._start(batch, output, {"CONSOLE": str(self.console.address)})

    def _start(self, batch: str, output: int | IO[bytes], more: dict[str, str]) -> subprocess.Popen[bytes]:
        options = ["--no-interface", "--no-data", "--no-fonts", "--batch-interpreter=python-fu-eval"]
        command = [*self.program(**more), *options, "-b", batch, "-b", "pdb.gimp_quit(1)"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def _write(self, text: str) -> Path:
        script = self.share / "script.py"
        script.write_text(PRELUDE + text, encoding="utf-8")
        return script

    def _clear_results(self) -> Path:
        results = self.share / "results.json"
        results.unlink(missing_ok=True)
        return results

    def pixels(self, name: str, dtype: str, channels: int) -> np.ndarray[Any, Any]:
        """What ``keep`` wrote of a drawable of the portrait's size, (height, width, channels)."""
        return np.fromfile(self.share / name, dtype).reshape(SIDE, SIDE, channels)


def _read_outcome(results: Path, output: str) -> tuple[dict[str, Any], str]:
    # A GIMP of its own ends with 0 also when its script fails.
    assert results.exists(), output
    return json.loads(results.read_text()), output


def prepare_gimp210(share: Path) -> Gimp210:
    """A GIMP 2.10 with the plug-in, installed by the installer, in a fresh profile.

    Raises:
        NoRoot: there is none here and none can be had.
    """
    root = find_root(GIMP210)
    profile = share / ".config" / "GIMP" / "2.10"
    profile.mkdir(parents=True)
    content = host.make_pointer(share / "run", in_root=True)
    plug_in.write(Profile(profile, "2.10"), ("protect-face-worker.json", content.encode()), compile_all(host.CHECKOUT))
    return Gimp210(make_root_command(root, share), share, Console(share, "gimp210"))
