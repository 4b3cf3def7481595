"""What the plug-in registers in GIMP 2.10, whose forms nobody can see in the tests' own."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import pytest

from tests.plugin.conftest import PLUGIN


@pytest.fixture
def forms(gimpfu: ModuleType) -> dict[str, list[tuple[Any, ...]]]:
    """The parameters of each procedure."""
    found = {}

    def register(name: str, *about: Any) -> None:
        found[name] = about[7]

    vars(gimpfu).update(register=register, main=lambda: None, CancelError=RuntimeError)
    spec = importlib.util.spec_from_file_location(
        "protect_face_gimp2", PLUGIN / "protect-face-gimp2" / "protect-face-gimp2.py"
    )
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return found


@pytest.mark.parametrize(("name", "limits"), [("steps", (0, 10_000)), ("seed", (0, 2**31 - 1))])
def test_whole_numbers_can_only_be_chosen_where_they_have_a_meaning(
    gimpfu: ModuleType, forms: dict[str, list[tuple[Any, ...]]], name: str, limits: tuple[int, int]
) -> None:
    found = [parameter for form in forms.values() for parameter in form if parameter[1] == name]
    assert found and all(kind == gimpfu.PF_SPINNER and bounds == (*limits, 1) for kind, _, _, _, bounds in found)
