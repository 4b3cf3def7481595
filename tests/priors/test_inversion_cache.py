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
from c2p_core.priors.inversion_cache import InversionCache, MemoryInversions

TENSORS = {"codes": torch.arange(256.0)}  # 1 KiB and a header


def key(letter: str) -> str:
    """As long as a digest."""
    return letter * 64


def test_stored_tensors_are_returned(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path / "cache")
    assert cache.get(key("a")) is None
    assert cache.put(key("a"), TENSORS) is None
    tensors = InversionCache(tmp_path / "cache").get(key("a"))
    assert tensors is not None and torch.equal(tensors["codes"], TENSORS["codes"])


def test_the_least_recently_used_entry_is_evicted_first(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path, largest=2500)
    for age, letter in ((300, "a"), (200, "b")):
        cache.put(key(letter), TENSORS)
        os.utime(tmp_path / f"{key(letter)}.safetensors", (time.time() - age,) * 2)
    cache.get(key("a"))
    cache.put(key("c"), TENSORS)
    assert {path.stem for path in cache.entries()} == {key("a"), key("c")}


def test_entries_unused_for_weeks_are_evicted(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put(key("a"), TENSORS)
    os.utime(tmp_path / f"{key('a')}.safetensors", (time.time() - 30 * 24 * 3600,) * 2)
    cache.put(key("b"), TENSORS)
    assert [path.stem for path in cache.entries()] == [key("b")]


def test_expired_entries_are_not_returned(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put(key("a"), TENSORS)
    os.utime(tmp_path / f"{key('a')}.safetensors", (time.time() - 30 * 24 * 3600,) * 2)
    assert cache.get(key("a")) is None and cache.entries() == []


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are private there anyway")
def test_only_the_user_can_read_it(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path / "cache")
    cache.put(key("a"), TENSORS)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert cache.entries()[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="the user's folders are private there anyway")
def test_an_existing_folder_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    cache = InversionCache(tmp_path)
    cache.put(key("a"), TENSORS)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert cache.entries()[0].stat().st_mode & 0o777 == 0o600


def test_files_of_the_users_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    user_files = [tmp_path / "lora.safetensors", tmp_path / "film.part"]
    for path in user_files:
        path.write_bytes(b"theirs")
        os.utime(path, (0, 0))
    cache = InversionCache(tmp_path, largest=0)
    cache.put(key("a"), TENSORS)
    assert cache.clear() == 1
    assert sorted(tmp_path.iterdir()) == sorted(user_files)


def test_a_damaged_entry_is_removed(tmp_path: Path) -> None:
    cache = InversionCache(tmp_path)
    cache.put(key("a"), TENSORS)
    (tmp_path / f"{key('a')}.safetensors").write_bytes(b"cut off")
    assert cache.get(key("a")) is None and cache.entries() == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_gives_a_message_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail_with_full_disk(tensors: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(inversion_cache, "save_file", fail_with_full_disk)
    cache = InversionCache(tmp_path)
    message = cache.put(key("a"), TENSORS)
    assert message is not None and message.code == "inversion-not-kept"
    assert message.fields["folder"] == str(tmp_path) and "No space left" in message.fields["reason"]
    assert list(tmp_path.iterdir()) == []


def test_the_command_shows_and_clears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("C2P_CACHE", str(tmp_path))
    InversionCache().put(key("a"), TENSORS)
    (tmp_path / f"{key('b')}.01234567.part").touch()
    assert main(["cache"]) == 0 and "1 faces" in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_in_memory_the_most_recently_used_entries_are_kept() -> None:
    cache = MemoryInversions()
    for key in "abcd":
        assert cache.put(key, TENSORS) is None
    cache.get("a")
    cache.put("e", TENSORS)
    assert [key for key in "abcde" if cache.get(key)] == ["a", "c", "d", "e"]
