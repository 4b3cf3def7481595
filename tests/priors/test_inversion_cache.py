"""Inverted faces: there again, bounded; on disk private and never half."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from c2p_core.cli import main
from c2p_core.priors import inversion_cache
from c2p_core.priors.inversion_cache import HeldInversions, InversionCache

TENSORS = {"codes": torch.arange(256.0)}  # 1 KiB and a header


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path / "cache")
    assert cache.get("a") is None
    assert cache.put("a", TENSORS) is None
    found = InversionCache(tmp_path / "cache").get("a")
    assert found is not None and torch.equal(found["codes"], TENSORS["codes"])


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path, largest=2500)
    for age, key in ((300, "a"), (200, "b")):
        cache.put(key, TENSORS)
        os.utime(tmp_path / f"{key}.safetensors", (time.time() - age,) * 2)
    cache.get("a")
    cache.put("c", TENSORS)
    assert {path.stem for path in cache.entries()} == {"a", "c"}


def test_what_was_not_used_for_weeks_goes(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put("a", TENSORS)
    os.utime(tmp_path / "a.safetensors", (time.time() - 30 * 24 * 3600,) * 2)
    cache.put("b", TENSORS)
    assert [path.stem for path in cache.entries()] == ["b"]


def test_what_was_not_used_for_weeks_is_not_used_again_either(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put("a", TENSORS)
    os.utime(tmp_path / "a.safetensors", (time.time() - 30 * 24 * 3600,) * 2)
    assert cache.get("a") is None and cache.entries() == []


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are private there anyway")
def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path / "cache")
    cache.put("a", TENSORS)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert cache.entries()[0].stat().st_mode & 0o777 == 0o600


def test_a_damaged_entry_counts_as_none_and_goes(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put("a", TENSORS)
    (tmp_path / "a.safetensors").write_bytes(b"cut off")
    assert cache.get("a") is None and cache.entries() == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(inversion_cache, "save_file", full)
    cache = InversionCache(tmp_path)
    said = cache.put("a", TENSORS)
    assert said is not None and "No space left" in said
    assert list(tmp_path.iterdir()) == []


def test_the_command_shows_and_clears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(tmp_path))
    InversionCache().put("a", TENSORS)
    (tmp_path / "b.0.part").touch()
    assert main(["cache"]) == 0 and "1 faces" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_in_memory_the_latest_few_are_kept_by_their_last_use() -> None:
    held = HeldInversions()
    for key in "abcd":
        assert held.put(key, TENSORS) is None
    held.get("a")
    held.put("e", TENSORS)
    assert [key for key in "abcde" if held.get(key)] == ["a", "c", "d", "e"]
