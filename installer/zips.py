"""Zips of the plug-in for manual installation, with one top folder that can be copied to GIMP as it is."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from installer.environment import CHECKOUT, read_release
from installer.folders import MARKER
from installer.plug_in import FROM_ZIP, NAMES, collect_contents, is_program
from installer.problems import Stop

PLATFORMS = {
    "linux": "~/.config/GIMP/{version}/plug-ins (Snap: ~/snap/gimp/current/.config/GIMP/{version}/plug-ins)",
    "windows": "%APPDATA%\\GIMP\\{version}\\plug-ins",
    "macos": "~/Library/Application Support/GIMP/{version}/plug-ins",
}
_INSTRUCTIONS = """\
Protect Face {release} for GIMP {generation}

1. Close GIMP and move the folder "{name}" as it is into
   {folder}
   so that it holds {name}/{name}.py and not one folder more.
2. The filter needs Protect Face's worker. In Protect Face's own folder run
   {python} install.py --gimp
   It sets up the worker, and repairs this folder too.
3. Start GIMP: Filters > Privacy > Protect Face.
"""


def make_zips(compiled: Mapping[str, bytes], target: Path = CHECKOUT / "dist") -> list[Path]:
    """Write one zip per platform and plug-in; returns their paths.

    Args:
        compiled: see ``plug_in.collect_contents``.
        target: folder of the zips, which is created if it is missing.

    Raises:
        Stop: the folder is not writable.
    """
    paths = []
    for generation, name in NAMES.items():
        files = collect_contents(generation, compiled)
        for platform, place in PLATFORMS.items():
            version = "2.10" if generation == 2 else "3.0"
            instructions = _INSTRUCTIONS.format(
                release=read_release(),
                generation="2.10" if generation == 2 else "3",
                name=name,
                folder=place.format(version=version),
                python="py" if platform == "windows" else "python3",
            )
            if platform == "windows":
                instructions = instructions.replace("\n", "\r\n")
            # The marker lets install.py recognise the folder as its own.
            extra = {"INSTALL.txt": instructions.encode(), MARKER: json.dumps({"state": FROM_ZIP}).encode()}
            path = target / f"{name}-{read_release()}-{platform}.zip"
            try:
                target.mkdir(parents=True, exist_ok=True)
                _write(path, name, files | extra, generation)
            except OSError as error:
                raise Stop("zip-not-writable", 5, path=path, reason=error.strerror) from error
            paths.append(path)
    return paths


def _write(path: Path, top: str, files: dict[str, bytes], generation: int) -> None:
    temporary = path.with_name(f"{path.name}.part")
    # GIMP reads a plug-in again only if the time of its file has changed.
    now = time.localtime()[:6]
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", now)
            entry.create_system = 3  # Unix, so that the permissions below apply wherever the zip was made
            entry.external_attr = (0o100755 if is_program(generation, name) else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, body)
    temporary.replace(path)
