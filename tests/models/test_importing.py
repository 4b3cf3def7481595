"""Models among the user's own files: recognised by content, copied, checked and pinned."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models import importing
from c2p_core.models.files import LOCKS
from c2p_core.models.store import ModelStore
from c2p_core.recognition import list_recognisers, load_architecture, load_recognisers
from tests.error_assertions import raising
from tests.models.manifests import describe_file

KNOWN = b"content with a published hash"
NETWORK = {"first": nn.Linear(3, 5), "second": nn.Linear(5, 3)}


def entry(name: str, files: str) -> str:
    return f"""
        [[model]]
        name = "{name}"
        role = "prior"
        profile = "named"
        use = "research"
        licence = "LicenseRef-unstated"
        origin = "a test"
        files = [{files}]
        sources = []
    """


@pytest.fixture
def models(tmp_path: Path) -> ModelStore:
    """Knows a model by hash, two by layout, and one of two files."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    text = entry("hashed", describe_file("h.bin", KNOWN))
    for name, network in NETWORK.items():
        shape = list(network.weight.shape)
        text += entry(name, f'{{ name = "{name}.pt", at_most = 9_000, layout = {{ weight = {shape} }} }}')
    text += entry("both", f"{describe_file('b.bin', b'one')}, {describe_file('c.bin', b'two')}")
    (bundle / "manifest.toml").write_text(text)
    (tmp_path / "mine/deep").mkdir(parents=True)
    return ModelStore(tmp_path / "root", bundle=bundle)


def list_models(models: ModelStore) -> list[str]:
    return [model.name for model in models.catalogue()]


def test_files_are_recognised_by_content_whatever_they_are_called(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/second.pt").write_bytes(KNOWN)
    torch.save(NETWORK["second"].state_dict(), tmp_path / "mine/deep/first.pt")
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/notes.txt")
    (tmp_path / "mine/picture.jpg").write_bytes(b"something else")
    found, messages = models.find_models(tmp_path / "mine", list_models(models))
    assert {f.entry.name: [path.name for path in f.paths] for f in found} == {
        "hashed": ["second.pt"],
        "first": ["notes.txt"],
        "second": ["first.pt"],
    }
    assert messages == []


def test_the_layout_of_a_file_is_read_once_for_all_models(
    tmp_path: Path, models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(importing, "read_layout", lambda path: read.append(path) or {})
    torch.save(NETWORK["second"].state_dict(), tmp_path / "mine/a")
    assert models.find_models(tmp_path / "mine", list_models(models)) == ([], [])
    assert read == [tmp_path / "mine/a"]


def test_only_requested_models_are_searched_for(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/a").write_bytes(KNOWN)
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/b")
    assert [model.entry.name for model in models.find_models(tmp_path / "mine", ["first"])[0]] == ["first"]


def test_a_model_of_two_files_needs_both(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/x").write_bytes(b"one")
    assert models.find_models(tmp_path / "mine", ["both"])[0] == []
    (tmp_path / "mine/y").write_bytes(b"two")
    (model,) = models.find_models(tmp_path / "mine", ["both"])[0]
    models.import_found(model)
    assert sorted(path.name for path in models.obtain("both").iterdir()) == ["b.bin", "c.bin"]


def test_an_import_makes_a_verified_copy_under_the_manifests_name(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/a").write_bytes(KNOWN)
    (model,) = models.find_models(tmp_path / "mine", ["hashed"])[0]
    calls: list[tuple[int, int]] = []
    models.import_found(model, lambda done, total: calls.append((done, total)))
    assert models.obtain("hashed") == tmp_path / "root/hashed/h.bin"
    assert (tmp_path / "mine/a").read_bytes() == models.obtain("hashed").read_bytes() == KNOWN
    assert calls[-1] == (len(KNOWN), len(KNOWN)) and models.take_notices() == []


def test_a_file_recognised_by_layout_is_pinned_with_a_notice(tmp_path: Path, models: ModelStore) -> None:
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/a")
    models.import_found(models.find_models(tmp_path / "mine", ["first"])[0][0])
    digest = hashlib.sha256((tmp_path / "mine/a").read_bytes()).hexdigest()
    assert models.take_notices() == [Message("model-pinned", name="first", file="first.pt", sha256=digest)]
    models.verify("first")


def test_a_file_that_differs_from_the_pinned_one_is_refused_and_the_old_one_stays(
    tmp_path: Path, models: ModelStore
) -> None:
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/a")
    models.import_found(models.find_models(tmp_path / "mine", ["first"])[0][0])
    before = models.obtain("first").read_bytes()
    torch.save({name: value + 1 for name, value in NETWORK["first"].state_dict().items()}, tmp_path / "mine/a")
    pin = str(tmp_path / "root/.pins/first/first.pt.sha256")
    with raising(ModelUnavailable, "model-differs-from-pin", name="first", pin=pin):
        models.import_found(models.find_models(tmp_path / "mine", ["first"])[0][0])
    assert models.obtain("first").read_bytes() == before


def test_a_file_that_changes_between_finding_and_copying_is_not_taken(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/a").write_bytes(KNOWN)
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/b")
    first, hashed = sorted(models.find_models(tmp_path / "mine", ["hashed", "first"])[0], key=lambda f: f.entry.name)
    (tmp_path / "mine/a").write_bytes(KNOWN[::-1])
    torch.save(NETWORK["second"].state_dict(), tmp_path / "mine/b")
    with raising(ModelUnavailable, "model-file-altered", name="hashed"):
        models.import_found(hashed)
    with raising(ModelUnavailable, "model-without-layout", name="first"):
        models.import_found(first)
    assert not models.is_present("hashed") and not models.is_present("first")


def test_a_known_model_with_different_content_is_reported_and_not_imported(tmp_path: Path) -> None:
    torch.save(NETWORK["first"].state_dict(), tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    listed = describe_file("h.pt", content[::-1]).replace(" }", ", layout = { weight = [5, 3] } }")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/manifest.toml").write_text(entry("hashed", listed))
    models = ModelStore(tmp_path / "root", bundle=tmp_path / "bundle")
    found, messages = models.find_models(tmp_path, ["hashed"])
    assert found == [] and messages == [Message("model-file-other", path=str(tmp_path / "a"), name="hashed")]


def test_special_files_and_unreadable_files_are_skipped(tmp_path: Path, models: ModelStore) -> None:
    os.mkfifo(tmp_path / "mine/pipe")
    (tmp_path / "mine/link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "mine/z").write_bytes(KNOWN)
    (model,) = models.find_models(tmp_path / "mine", ["hashed"])[0]
    assert model.paths[0].name == "z"


def test_a_missing_folder_is_named(tmp_path: Path, models: ModelStore) -> None:
    with raising(BadRequest, "folder-of-models-missing", path=str(tmp_path / "none")):
        models.find_models(tmp_path / "none", ["hashed"])


def test_a_folder_with_far_too_many_files_is_refused(
    tmp_path: Path, models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2p_core.models.importing.MAX_FILES", 3)
    for number in range(4):
        (tmp_path / f"mine/{number}").touch()
    with raising(BadRequest, "folder-of-models-large", limit=3):
        models.find_models(tmp_path / "mine", ["hashed"])


def test_a_recogniser_of_the_papers_is_imported_from_the_users_file_and_used_by_its_name(tmp_path: Path) -> None:
    models = ModelStore(tmp_path / "root", offline=True)
    make = load_architecture(models.entry("mobileface-amt")).make
    assert make is not None
    (tmp_path / "mine").mkdir()
    torch.save(make().state_dict(), tmp_path / "mine/weights from a friend")
    (found,) = models.find_models(tmp_path / "mine", [model.name for model in models.catalogue() if model.files])[0]
    models.import_found(found)
    (recogniser,) = load_recognisers(["mobileface-amt"], models, torch.device("cpu"))
    assert (recogniser.name, recogniser.far1, recogniser.far01) == ("mobileface-amt", 0.301611, 0.380878)
    assert "mobileface-amt" not in list_recognisers(models)


class Stopped(Exception):
    pass


def stop(done: int, total: int) -> None:
    raise Stopped


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/x").write_bytes(b"one")
    (tmp_path / "mine/y").write_bytes(b"two")
    (model,) = models.find_models(tmp_path / "mine", ["both"])[0]
    with pytest.raises(Stopped):
        models.import_found(model, stop)
    (tmp_path / "mine/y").write_bytes(b"owt")
    with raising(ModelUnavailable, "model-file-altered", file="c.bin"):
        models.import_found(model)
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file() and path.parent.name != LOCKS] == []


def test_a_file_that_disappears_before_it_is_copied_is_named(tmp_path: Path, models: ModelStore) -> None:
    (tmp_path / "mine/a").write_bytes(KNOWN)
    (model,) = models.find_models(tmp_path / "mine", ["hashed"])[0]
    (tmp_path / "mine/a").unlink()
    with raising(ModelUnavailable, "model-unreadable", path=str(tmp_path / "mine/a")):
        models.import_found(model)


def test_a_killed_import_starts_its_copies_again(tmp_path: Path, models: ModelStore) -> None:
    left = tmp_path / "root/.partial-hashed/copies-1/h.bin"
    left.parent.mkdir(parents=True)
    left.write_bytes(KNOWN[:5])
    (tmp_path / "mine/a").write_bytes(KNOWN)
    models.import_found(models.find_models(tmp_path / "mine", ["hashed"])[0][0])
    assert models.obtain("hashed").read_bytes() == KNOWN and not left.parent.parent.exists()


# Removing


def test_removing_a_model_leaves_pins_and_the_users_other_files(tmp_path: Path, models: ModelStore) -> None:
    torch.save(NETWORK["first"].state_dict(), tmp_path / "mine/a")
    models.import_found(models.find_models(tmp_path / "mine", ["first"])[0][0])
    (tmp_path / "root/first/first.pt.txt").write_text("mine")
    assert models.remove("first") == (tmp_path / "mine/a").stat().st_size
    assert not models.is_present("first")
    assert (tmp_path / "root/first/first.pt.txt").exists() and (tmp_path / "root/.pins/first/first.pt.sha256").exists()


def test_removing_an_absent_model_frees_nothing(models: ModelStore) -> None:
    assert models.remove("first") == 0


def test_shipped_models_and_those_of_packages_cannot_be_removed() -> None:
    for name, code in (("faceres", "model-ships"), ("frbench", "model-of-package")):
        with raising(BadRequest, code, name=name):
            ModelStore().remove(name)
