"""The settings of the plug-in for GIMP 3 on their way from its arguments to the worker; GIMP is not needed for that."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from dataclasses import asdict
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from worker_client import Event
from worker_client.settings import LOCKS, make_job_header, pack_pixels, pack_run_record, unpack_run_record

from tests.plugin.conftest import PLUGIN


class FakeProcedure:
    """Remembers the default of each argument that is added."""

    def __init__(self) -> None:
        self.defaults: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        assert name.startswith("add_") and name.endswith("_argument"), name
        return lambda argument, *about: self.defaults.update({argument: about[-2]})


class FakeConfig:
    """Arguments with their defaults, but for those that are given."""

    def __init__(self, procedure: FakeProcedure, **arguments: Any) -> None:
        self.values = procedure.defaults | {name.replace("_", "-"): value for name, value in arguments.items()}
        assert self.values.keys() == procedure.defaults.keys()

    def get_property(self, name: str) -> Any:
        return self.values[name]


@pytest.fixture
def run_settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plug-in's module, with nothing of GIMP's behind it."""
    choice = SimpleNamespace(new=lambda: SimpleNamespace(add=lambda *_: None))
    gimp = SimpleNamespace(Choice=choice, Procedure=None, ProcedureConfig=None)
    repository = ModuleType("gi.repository")
    vars(repository).update(Gimp=gimp, GObject=SimpleNamespace(ParamFlags=SimpleNamespace(READWRITE=0)))
    monkeypatch.setitem(sys.modules, "gi", ModuleType("gi"))
    monkeypatch.setitem(sys.modules, "gi.repository", repository)
    spec = importlib.util.spec_from_file_location("gimp3_settings", PLUGIN / "protect-face" / "run_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gimp3_settings", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def procedure(run_settings: Any) -> FakeProcedure:
    fake = FakeProcedure()
    run_settings.declare(fake)
    return fake


def test_without_arguments_a_run_has_the_default_settings(run_settings: Any, procedure: FakeProcedure) -> None:
    assert run_settings.read_config(FakeConfig(procedure)) == run_settings.RunSettings()
    assert run_settings.RunSettings().keep_expression is True


@pytest.mark.parametrize("kept", [True, False])
def test_keep_expression_reaches_the_worker_and_is_remembered_for_strengthening(
    run_settings: Any, procedure: FakeProcedure, kept: bool
) -> None:
    settings = asdict(run_settings.read_config(FakeConfig(procedure, keep_expression=kept)))
    assert make_job_header(settings)["keep_expression"] is kept
    result = Event("result", {"settings": {}, "faces": []})
    record = unpack_run_record(pack_run_record(5, (10, 20), 6, settings, result, pack_pixels([], "")), 6)
    assert record is not None and run_settings.restore_settings(record["requested"], steps=2).keep_expression is kept


def test_locks_reach_the_worker_and_are_remembered_for_strengthening(
    run_settings: Any, procedure: FakeProcedure
) -> None:
    settings = asdict(run_settings.read_config(FakeConfig(procedure, lock_nose=True)))
    assert make_job_header(settings)["locks"] == ["nose"]
    result = Event("result", {"settings": {}, "faces": []})
    record = unpack_run_record(pack_run_record(5, (10, 20), 6, settings, result, pack_pixels([], "")), 6)
    assert record is not None
    assert make_job_header(asdict(run_settings.restore_settings(record["requested"], steps=2)))["locks"] == ["nose"]


def test_a_result_of_an_older_version_is_strengthened_with_the_expression_kept_and_nothing_locked(
    run_settings: Any,
) -> None:
    record = unpack_run_record(json.dumps({"source": 5, "wishes": {"prompt": "red lipstick"}}), 7)
    assert record is not None
    restored = run_settings.restore_settings(record["requested"])
    assert restored.keep_expression is True and "locks" not in make_job_header(asdict(restored))


@pytest.mark.parametrize(
    ("given", "offers"),
    [
        ({}, ("stronger", "another", "shape")),
        ({"strength": 1.0}, ("another", "shape")),
        ({"shape": 120}, ("stronger", "another")),
        # The product of both is cut off at the most that is applied.
        ({"amount": 120}, ("stronger", "another")),
        ({"amount": 0}, ("stronger", "another")),
    ],
)
def test_no_remedy_is_offered_that_would_give_the_same_result(
    run_settings: Any, given: dict[str, Any], offers: tuple[str, ...]
) -> None:
    assert run_settings.list_offers(run_settings.RunSettings(**given)) == offers


def test_another_look_has_the_next_seed_and_the_last_is_followed_by_the_first(run_settings: Any) -> None:
    seeds = [run_settings.apply_offer(run_settings.RunSettings(seed=seed), "another").seed for seed in (0, 2**31 - 1)]
    assert seeds == [1, 0]


def test_every_setting_has_its_place_in_the_dialog(procedure: FakeProcedure) -> None:
    tree = ast.parse((PLUGIN / "protect-face" / "dialog.py").read_text(encoding="utf-8"))
    boxes = [
        ast.literal_eval(node.args[1])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fill_box"
    ]
    # The prompt's field has a list of presets, and locks a grid, which no box of GIMP's has.
    others = ["prompt", "keep-expression", *(name.replace("_", "-") for name, _, _ in LOCKS)]
    assert sorted([*others, *(name for box in boxes for name in box)]) == sorted(procedure.defaults)
