"""The GIMP 3 plug-in's files, without a GIMP: what they import."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PLUG_IN = Path(__file__).resolve().parent.parent.parent / "plugin" / "protect-face"
FILES = sorted(PLUG_IN.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_plug_in_imports_only_the_standard_library_and_gimps_modules(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "gi", "worker_client", *(file.stem for file in FILES)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {module.partition(".")[0] for module in modules} <= allowed


def test_the_entry_file_stays_about_a_page() -> None:
    entry = PLUG_IN / "protect-face.py"
    assert len(entry.read_text(encoding="utf-8").splitlines()) < 160
    assert entry.stat().st_mode & 0o111, "GIMP ignores a plug-in that is not executable"
