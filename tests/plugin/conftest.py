"""A gimpfu for the tests of the plug-in for GIMP 2.10 that need no GIMP."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"


@pytest.fixture
def gimpfu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A gimpfu that has the names of the stub and nothing behind them; the plug-in's modules are imported anew."""
    fake = ModuleType("gimpfu")
    stub = ast.parse((PLUGIN / "stubs" / "gimpfu.pyi").read_text(encoding="utf-8"))
    names = [
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    for number, name in enumerate(names):
        setattr(fake, name, number)
    monkeypatch.setitem(sys.modules, "gimpfu", fake)
    monkeypatch.syspath_prepend(str(PLUGIN / "protect-face-gimp2"))
    for path in (PLUGIN / "protect-face-gimp2").glob("gimp2_*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return fake
