"""What the plug-in registers in GIMP 2.10; the forms themselves can't be shown in the tests' GIMP."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from worker_client.settings import make_job_header

from tests.plugin.conftest import PLUGIN

Parameters = list[tuple[Any, ...]]


@pytest.fixture
def registered(gimpfu: ModuleType) -> dict[str, tuple[Parameters, Callable[..., object]]]:
    """The parameters of each procedure, and what it runs."""
    procedures = {}

    def register(name: str, *about: Any) -> None:
        procedures[name] = about[7], about[9]

    if not isinstance(gimpfu.pdb, SimpleNamespace):
        gimpfu.pdb = SimpleNamespace(gimp_plugin_enable_precision=lambda: None)  # type: ignore[attr-defined]
    vars(gimpfu).update(register=register, main=lambda: None, CancelError=RuntimeError)
    spec = importlib.util.spec_from_file_location(
        "protect_face_gimp2", PLUGIN / "protect-face-gimp2" / "protect-face-gimp2.py"
    )
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return procedures


@pytest.fixture
def forms(registered: dict[str, tuple[Parameters, Callable[..., object]]]) -> dict[str, Parameters]:
    """The parameters of each procedure."""
    return {name: parameters for name, (parameters, _) in registered.items()}


@pytest.mark.parametrize(("name", "limits"), [("steps", (0, 10_000)), ("seed", (0, 2**31 - 1))])
def test_a_form_accepts_only_valid_whole_numbers(
    gimpfu: ModuleType, forms: dict[str, Parameters], name: str, limits: tuple[int, int]
) -> None:
    parameters = [parameter for form in forms.values() for parameter in form if parameter[1] == name]
    assert parameters and all(
        kind == gimpfu.PF_SPINNER and bounds == (*limits, 1) for kind, _, _, _, bounds in parameters
    )


def test_the_sliders_of_the_amounts_reach_the_worker_as_factors(
    registered: dict[str, tuple[Parameters, Callable[..., object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gimp2_run

    settings_of_runs: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: settings_of_runs.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    defaults = [parameter[3] for parameter in parameters]
    protect(*defaults[:-9], 50.0, 0.0, 100.0, 120.0, *defaults[-5:])
    assert (
        make_job_header(settings_of_runs[0]).items()
        >= {"amount": 0.5, "shape": 0.0, "light": 1.0, "makeup": 1.2}.items()
    )


def test_the_lock_toggles_set_the_locks_of_a_run(
    gimpfu: ModuleType,
    registered: dict[str, tuple[Parameters, Callable[..., object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gimp2_run

    settings_of_runs: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: settings_of_runs.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    assert [parameter[0] for parameter in parameters[-5:-1]] == 4 * [gimpfu.PF_TOGGLE]
    defaults = [parameter[3] for parameter in parameters]
    protect(*defaults)
    protect(*defaults[:-5], 1, 0, 0, 1, 0)  # GIMP hands numbers over
    assert "locks" not in make_job_header(settings_of_runs[0]) and make_job_header(settings_of_runs[1])["locks"] == [
        "brows",
        "jaw",
    ]


def test_the_expression_toggle_sets_keep_expression_of_a_run(
    gimpfu: ModuleType,
    registered: dict[str, tuple[Parameters, Callable[..., object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gimp2_run

    settings_of_runs: list[dict[str, Any]] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda _image, _drawable, settings: settings_of_runs.append(settings))
    parameters, protect = registered["python-fu-protect-face"]
    index = [parameter[1] for parameter in parameters].index("keep_expression")
    assert (parameters[index][0], parameters[index][3]) == (gimpfu.PF_TOGGLE, True)
    defaults = [parameter[3] for parameter in parameters]
    for value in (defaults[index], 0):  # GIMP hands numbers over
        protect(*defaults[:index], value, *defaults[index + 1 :])
    assert [settings["keep_expression"] for settings in settings_of_runs] == [True, False]
    # The worker takes true and false, and no numbers.
    assert [json.dumps(make_job_header(settings)["keep_expression"]) for settings in settings_of_runs] == [
        "true",
        "false",
    ]


class FakeImage:
    """An open image, whose active layer is its own name."""

    def __init__(self, number: int, name: bytes) -> None:
        self.ID = number
        self.name = name
        self.active_layer = name


@pytest.fixture
def opened(gimpfu: ModuleType, tmp_path: Path) -> list[FakeImage]:
    """The images that are open; GIMP shows and keeps nothing."""
    images = [FakeImage(number, name) for number, name in ((3, b"first"), (4, b"gr\xc3\xbcn"), (7, b"front"))]
    gimp_output = SimpleNamespace(messages=[])
    gimp = SimpleNamespace(
        image_list=lambda: list(images), message=gimp_output.messages.append, directory=str(tmp_path), Layer=bytes
    )
    pdb = SimpleNamespace(
        gimp_plugin_enable_precision=lambda: None,
        gimp_displays_flush=lambda: None,
        gimp_image_is_valid=lambda image: image.ID != 3,
    )
    vars(gimpfu).update(gimp=gimp, pdb=pdb, CancelError=RuntimeError)
    return images


def test_every_open_image_is_protected_with_its_active_layer_the_one_in_front_first(
    opened: list[FakeImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gimp2_images

    runs: list[tuple[object, ...]] = []

    def protect(image: FakeImage, layer: object, settings: object, on_event: object) -> tuple[object, dict[str, Any]]:
        runs.append((image.ID, layer, settings))
        return f"layer of {image.ID}", {"faces": [], "warnings": []}

    monkeypatch.setattr(gimp2_images, "search_and_insert", protect)
    assert gimp2_images.protect_all(opened[2], "mine", {"seed": 5}) == "layer of 7"  # type: ignore[arg-type]
    assert runs == [(7, "mine", {"seed": 5}), (4, "gr\xfcn".encode(), {"seed": 5})]
    (message,) = vars(gimp2_images)["gimp"].message.__self__
    assert "first: " in message and "grün: " in message


def test_the_toggle_for_all_images_starts_a_run_over_them_where_there_are_several(
    gimpfu: ModuleType,
    opened: list[FakeImage],
    registered: dict[str, tuple[Parameters, Callable[..., object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gimp2_images
    import gimp2_run

    calls: list[str] = []
    monkeypatch.setattr(gimp2_run, "protect", lambda *_: calls.append("one"))
    monkeypatch.setattr(gimp2_images, "protect_all", lambda *_: calls.append("all"))
    parameters, protect = registered["python-fu-protect-face"]
    assert parameters[-1][:2] == (gimpfu.PF_TOGGLE, "all_images") and parameters[-1][3] is False
    defaults = [parameter[3] for parameter in parameters]
    protect(*defaults)
    protect(*defaults[:-1], 1)  # GIMP hands numbers over
    del opened[1:]
    protect(*defaults[:-1], 1)
    assert calls == ["one", "all", "one"]
