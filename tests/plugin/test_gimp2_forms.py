"""What the plug-in registers in GIMP 2.10, whose forms nobody can see in the tests' own."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from worker_client.settings import job_header

from tests.plugin.conftest import PLUGIN

Parameters = list[tuple[Any, ...]]


@pytest.fixture
def registered(gimpfu: ModuleType) -> dict[str, tuple[Parameters, Callable[..., object]]]:
    """The parameters of each procedure, and what it runs."""
    found = {}

    def register(name: str, *about: Any) -> None:
        found[name] = about[7], about[9]

    pdb = SimpleNamespace(gimp_plugin_enable_precision=lambda: None)
    vars(gimpfu).update(register=register, main=lambda: None, CancelError=RuntimeError, pdb=pdb)
    spec = importlib.util.spec_from_file_location(
        "protect_face_gimp2", PLUGIN / "protect-face-gimp2" / "protect-face-gimp2.py"
    )
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return found


@pytest.fixture
def forms(registered: dict[str, tuple[Parameters, Callable[..., object]]]) -> dict[str, Parameters]:
    """The parameters of each procedure."""
    return {name: parameters for name, (parameters, _) in registered.items()}


@pytest.mark.parametrize(("name", "limits"), [("steps", (0, 10_000)), ("seed", (0, 2**31 - 1))])
def test_whole_numbers_can_only_be_chosen_where_they_have_a_meaning(
    gimpfu: ModuleType, forms: dict[str, Parameters], name: str, limits: tuple[int, int]
) -> None:
    found = [parameter for form in forms.values() for parameter in form if parameter[1] == name]
    assert found and all(kind == gimpfu.PF_SPINNER and bounds == (*limits, 1) for kind, _, _, _, bounds in found)


def test_the_sliders_of_the_amounts_reach_the_worker_as_factors(
    registered: dict[str, tuple[Parameters, Callable[..., object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gimp2_run

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: asked.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    given = [parameter[3] for parameter in parameters]
    protect(*given[:-8], 50.0, 0.0, 100.0, 120.0, *given[-4:])
    assert job_header(asked[0]).items() >= {"amount": 0.5, "shape": 0.0, "light": 1.0, "makeup": 1.2}.items()


def test_what_the_toggles_lock_is_what_a_run_is_asked_for(
    gimpfu: ModuleType,
    registered: dict[str, tuple[Parameters, Callable[..., object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gimp2_run

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: asked.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    assert [parameter[0] for parameter in parameters[-4:]] == 4 * [gimpfu.PF_TOGGLE]
    given = [parameter[3] for parameter in parameters]
    protect(*given)
    protect(*given[:-4], 1, 0, 0, 1)  # GIMP hands numbers over
    assert "locks" not in job_header(asked[0]) and job_header(asked[1])["locks"] == ["brows", "jaw"]


def test_what_the_toggle_says_of_the_expression_is_what_a_run_is_asked_for(
    gimpfu: ModuleType,
    registered: dict[str, tuple[Parameters, Callable[..., object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gimp2_run

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: asked.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    at = [parameter[1] for parameter in parameters].index("keep_expression")
    assert (parameters[at][0], parameters[at][3]) == (gimpfu.PF_TOGGLE, True)
    given = [parameter[3] for parameter in parameters]
    for said in (given[at], 0):  # GIMP hands numbers over
        protect(*given[:at], said, *given[at + 1 :])
    assert [settings["keep_expression"] for settings in asked] == [True, False]
    # The worker takes true and false, and no numbers.
    assert [json.dumps(job_header(settings)["keep_expression"]) for settings in asked] == ["true", "false"]
