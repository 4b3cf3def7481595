"""The user's presets: they are read as they were saved, and other files do no harm."""

from __future__ import annotations

import json
import stat
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from worker_client import settings
from worker_client.errors import Refused

from tests.error_assertions import raising
from tests.plugin.conftest import PLUGIN

LOOK = {
    "prompt": "red lipstick",
    "strength": 0.4,
    "keep_expression": False,
    "lock_brows": False,
    "lock_mouth": True,
    "lock_nose": False,
    "lock_jaw": True,
    "prior": "makeup",
    "mode": "dodge",
    "output": "products",
    "steps": 0,
    "seed": 7,
    "amount": 100,
    "shape": 0,
    "light": 80,
    "makeup": 120,
}


def make_png(side: int = 144) -> bytes:
    def make_chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + make_chunk(b"IHDR", head)
        + make_chunk(b"IDAT", zlib.compress(b"\0" * 9))
        + make_chunk(b"IEND", b"")
    )


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PLUGIN / "protect-face"))
    monkeypatch.delitem(sys.modules, "preset_store", raising=False)
    import preset_store

    return preset_store


@pytest.fixture
def store(module: ModuleType, tmp_path: Path) -> Any:
    return module.PresetStore(tmp_path / "protect-face" / "presets")


def list_names(store: Any) -> list[str]:
    presets, damaged = store.list_presets()
    assert damaged == []
    return [preset.name for preset in presets]


def find_only_file(store: Any) -> Path:
    (file,) = store.folder.glob("*.json")
    return Path(file)


def test_a_preset_comes_back_as_it_was_saved_without_what_depends_on_the_photo(store: Any) -> None:
    assert store.list_presets() == ([], [])
    store.save("  Évening / Büro ", {**LOOK, "faces": "largest"}, make_png())
    ((preset,), damaged) = store.list_presets()
    assert (preset.name, preset.settings, damaged) == ("Évening / Büro", LOOK, [])
    assert preset.thumbnail.read_bytes() == make_png() and store.contains("Évening / Büro")


def test_every_setting_of_a_run_is_kept_apart_from_the_choice_of_faces(module: ModuleType) -> None:
    amounts, locks = ([row[0] for row in rows] for rows in (settings.AMOUNTS, settings.LOCKS))
    usual = ["prompt", "strength", "keep_expression", "prior", "mode", "output", "steps", "seed"]
    assert sorted(module.PRESET_SETTINGS) == sorted([*usual, *amounts, *locks]) == sorted(LOOK)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_only_the_user_can_read_presets_and_thumbnails(store: Any) -> None:
    store.save("mine", LOOK, make_png())
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in store.folder.iterdir()} == {0o600}


def test_saving_again_replaces_the_settings_and_takes_an_unwanted_thumbnail_away(store: Any) -> None:
    store.save("mine", LOOK, make_png())
    store.save("mine", {**LOOK, "seed": 8})
    ((preset,), _) = store.list_presets()
    assert preset.settings["seed"] == 8 and preset.thumbnail is None
    assert len(list(store.folder.iterdir())) == 1


def test_a_preset_is_renamed_with_its_thumbnail_but_never_over_another(store: Any) -> None:
    store.save("a", LOOK, make_png())
    store.save("b", {**LOOK, "seed": 8})
    with raising(Refused, "preset-exists", name="b"):
        store.rename("a", "b")
    store.rename("a", "c")
    store.rename("c", "c")
    presets, _ = store.list_presets()
    assert [(p.name, p.settings["seed"], p.thumbnail is None) for p in presets] == [("b", 8, True), ("c", 7, False)]
    with raising(Refused, "preset-gone", name="a"):
        store.rename("a", "d")


def test_nothing_of_a_deleted_preset_is_left(store: Any) -> None:
    store.save("a", LOOK, make_png())
    store.delete("a")
    store.delete("a")
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "two\nlines", "bell\a"])
def test_a_name_that_cannot_be_shown_is_refused(store: Any, name: str) -> None:
    with raising(Refused, "preset-name-unusable", limit=60):
        store.save(name, LOOK)


def test_names_that_differ_only_in_case_or_would_be_paths_are_different_presets(store: Any) -> None:
    for name in ("look", "Look", "../look", "con"):
        store.save(name, LOOK)
    assert sorted(list_names(store)) == ["../look", "Look", "con", "look"]
    assert [file.parent for file in store.folder.parent.rglob("*.json")] == 4 * [store.folder]


def test_the_number_of_presets_is_limited_and_existing_ones_can_still_be_replaced(
    store: Any, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PRESETS", 2)
    store.save("a", LOOK)
    store.save("b", LOOK)
    with raising(Refused, "presets-too-many", limit=2):
        store.save("c", LOOK)
    store.save("a", {**LOOK, "seed": 1})
    assert list_names(store) == ["a", "b"]


def change_settings(**new: Any) -> Callable[[Path], None]:
    """Writes a preset's file with other settings."""

    def write(file: Path) -> None:
        found = json.loads(file.read_text())
        file.write_text(json.dumps(found | {"settings": found["settings"] | new}))

    return write


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:40]),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text('{"name": "mine", "settings": 3}'),
        lambda file: file.write_text(file.read_text() + " " * 20_000),
        lambda file: file.write_text("[" * 10_000),
        lambda file: file.rename(file.with_name("other.json")),
        change_settings(strength=7),
        change_settings(strength=float("nan")),
        change_settings(seed=1.5),
        change_settings(steps=True),
        change_settings(lock_jaw=1),
        change_settings(prior="of-a-later-version"),
        change_settings(prompt="x" * 301),
        change_settings(amount="all"),
    ],
)
def test_a_damaged_preset_is_named_and_left_out_and_the_others_are_listed(
    store: Any, damage: Callable[[Path], None]
) -> None:
    store.save("mine", LOOK)
    damage(find_only_file(store))
    store.save("whole", LOOK)
    presets, (message,) = store.list_presets()
    assert [preset.name for preset in presets] == ["whole"]
    assert message.code == "preset-damaged" and str(store.folder) in message.fields["path"]


def test_missing_settings_and_those_of_a_later_version_are_not_treated_as_damage(store: Any) -> None:
    store.save("mine", LOOK)
    file = find_only_file(store)
    found = json.loads(file.read_text())
    file.write_text(json.dumps(found | {"settings": {"prompt": "blush", "sparkle": 3}, "version": 2}))
    ((preset,), damaged) = store.list_presets()
    assert (preset.settings, damaged) == ({"prompt": "blush"}, [])


@pytest.mark.parametrize("picture", [b"", b"GIF89a", make_png()[:20], make_png(10_000), make_png() + bytes(500_000)])
def test_only_a_small_png_is_shown_as_a_thumbnail(store: Any, picture: bytes) -> None:
    store.save("mine", LOOK, make_png())
    find_only_file(store).with_suffix(".png").write_bytes(picture)
    ((preset,), damaged) = store.list_presets()
    assert (preset.name, preset.thumbnail, damaged) == ("mine", None, [])


def test_a_failed_write_is_reported_and_the_earlier_preset_stays(
    store: Any, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save("mine", LOOK, make_png())

    def fail_with_full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail_with_full_disk)
    with raising(Refused, "preset-not-written", reason="No space left on device"):
        store.save("mine", {**LOOK, "seed": 9}, make_png(20))
    monkeypatch.undo()
    ((preset,), _) = store.list_presets()
    assert preset.settings == LOOK and preset.thumbnail.read_bytes() == make_png()
    assert len(list(store.folder.iterdir())) == 2
