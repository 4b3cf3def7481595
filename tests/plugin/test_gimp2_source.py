"""What the plug-in for GIMP 2.10 is written in: Python 2.7, and nothing beyond its standard library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PLUG_IN = Path(__file__).resolve().parents[2] / "plugin" / "protect-face-gimp2"


# "gimpfu" is the host's, the others are the plug-in's own; those for type checkers only stand behind TYPE_CHECKING.
IMPORTS = {
    "__future__",
    "json",
    "os",
    "sys",
    "gimpfu",
    "worker_client",
    "gimp2_images",
    "gimp2_procedures",
    "gimp2_layers",
    "gimp2_pixels",
    "gimp2_run",
    "gimp2_texts",
}


@pytest.mark.parametrize("path", sorted(PLUG_IN.glob("*.py")), ids=lambda path: path.name)
def test_the_plug_in_imports_only_the_standard_library_and_gimps_modules(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= IMPORTS


def test_the_plug_in_is_valid_python_2_7() -> None:
    command = [sys.executable, "-c", "import vermin; vermin.main()", "-t=2.7", "--no-tips", str(PLUG_IN)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
