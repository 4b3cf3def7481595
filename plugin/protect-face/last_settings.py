"""The settings that *Repeat* takes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from gi.repository import Gimp

from run_settings import ALL_IMAGES, read_config


def keep_as_last(config: Gimp.ProcedureConfig, image: Gimp.Image) -> None:
    """Saves the arguments as those of the last run; GIMP does so only at the end of a run, which *Cancel* prevents.

    They are written here in GIMP's format, because Python can't see that GIMP could serialise the object they are in.
    """
    name = config.__gtype__.name
    values = asdict(read_config(config)) | {ALL_IMAGES: config.get_property(ALL_IMAGES)}
    lines = [f"({argument.replace('_', '-')} {_quote(value)})\n" for argument, value in values.items()]
    text = "".join(["# settings\n\n", *lines, "\n# end of settings\n"])
    folder = Path(Gimp.directory()) / "plug-in-settings"
    try:
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.last").write_text(text, encoding="ascii")
    except OSError as error:
        print(error, file=sys.stderr)  # a full disk is no reason to refuse the run
    # GIMP reads the image's parasite first.
    image.attach_parasite(Gimp.Parasite.new(f"{name}-last", Gimp.PARASITE_PERSISTENT, text.encode() + b"\0"))


def _quote(value: str | bool | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return str(value)
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {ord('"'): '\\"', ord("\\"): "\\\\"}
    return '"' + "".join(plain.get(byte, f"\\{byte:03o}") for byte in value.encode()) + '"'
