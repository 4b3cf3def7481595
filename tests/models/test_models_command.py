"""`c2p models`: what it shows and asks before it fetches, and what it takes from the user's files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from c2p_core import cli
from c2p_core.models.store import ModelStore, bundle_dir
from tests.error_assertions import sentence
from tests.models import hostile
from tests.models.hostile import Server

Run = Callable[..., tuple[int, str, str]]
CONTENT = b"weights" * 1000
NETWORK = nn.Linear(3, 5)
ROOT = bundle_dir().parent


@pytest.fixture
def server() -> Iterator[Server]:
    with hostile.running() as state:
        state.content = CONTENT
        yield state


@pytest.fixture
def run(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with models to fetch for any use ("free") and for research ("strict"), and one to bring."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    text = ""
    digest = hashlib.sha256(CONTENT).hexdigest()
    fetched = f'{{ name = "w.bin", sha256 = "{digest}", size = {len(CONTENT)} }}'
    for name, profile, use, licence in (
        ("free", "full", "any", "MIT"),
        ("strict", "full", "research", "LicenseRef-NVIDIA-Source-Code"),
        ("other", "named", "any", "MIT"),
    ):
        text += f"""
            [[model]]
            name = "{name}"
            role = "prior"
            profile = "{profile}"
            use = "{use}"
            licence = "{licence}"
            origin = "a test"
            files = [{fetched}]
            sources = [{{ kind = "https", url = "{server.address}" }}]
        """
    text += """
        [[model]]
        name = "mine"
        role = "prior"
        profile = "full"
        use = "research"
        licence = "LicenseRef-unstated"
        origin = "a test"
        files = [{ name = "m.pt", at_most = 9_000, layout = { weight = [5, 3] } }]
        sources = []
    """
    (bundle / "manifest.toml").write_text(text)
    (tmp_path / "files").mkdir()
    monkeypatch.setattr("c2p_core.models.store.bundle_dir", lambda: bundle)
    monkeypatch.setenv("C2P_MODELS", str(tmp_path / "root"))

    def call(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def list_present() -> list[str]:
    models = ModelStore()
    return [entry.name for entry in models.catalogue() if models.is_present(entry.name)]


def type_answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Makes this a terminal where somebody types this."""
    typed = io.StringIO(text)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    monkeypatch.setattr("c2p_core.streams.Output.isatty", lambda self: True)


def test_size_use_and_licence_are_shown_and_nothing_is_fetched_without_a_yes(run: Run, server: Server) -> None:
    code, out, err = run("models", "fetch", "strict")
    assert code == 2 and sentence("licences-not-accepted", names="strict").search(err)
    assert "LicenseRef-NVIDIA-Source-Code" in out and "research only" in out and "0.0 MB" in out
    assert list_present() == [] and server.seen == []


def test_a_script_accepts_with_an_option(run: Run) -> None:
    assert run("models", "fetch", "strict", "free", "--accept-licences")[0] == 0
    assert list_present() == ["free", "strict"]


def test_the_user_is_asked_once_for_all_models(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    type_answer(monkeypatch, "y\n")
    code, out, _ = run("models", "fetch", "strict", "free")
    assert code == 0 and out.count("[y/N]") == 1 and "2 models" in out and "research" in out
    assert list_present() == ["free", "strict"]


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "maybe\n"])
def test_anything_but_a_yes_fetches_nothing(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    type_answer(monkeypatch, typed)
    code, out, _ = run("models", "fetch", "free")
    assert code == 0 and "Nothing was fetched." in out and server.seen == []


def test_fetching_a_profile_names_the_models_that_the_user_has_to_supply(run: Run) -> None:
    code, out, _ = run("models", "fetch", "full", "--accept-licences")
    assert code == 0 and list_present() == ["free", "strict"]
    assert sentence("model-bring-your-own", name="mine", files="m.pt").search(out)


def test_fetching_a_model_that_only_the_user_can_supply_is_an_error(run: Run) -> None:
    code, _, err = run("models", "fetch", "mine", "--accept-licences")
    assert code == 6 and sentence("model-bring-your-own", name="mine").search(err)


def test_without_names_no_optional_model_is_fetched(run: Run, server: Server) -> None:
    code, out, _ = run("models", "fetch")
    assert code == 0 and "nothing to fetch" in out and server.seen == []


def test_a_present_model_is_not_fetched_again(run: Run, server: Server) -> None:
    run("models", "fetch", "free", "--accept-licences")
    code, out, _ = run("models", "fetch", "free")
    assert code == 0 and "nothing to fetch" in out and len(server.seen) == 1


def test_offline_the_licence_question_is_not_asked(run: Run, server: Server) -> None:
    code, _, err = run("--offline", "models", "fetch", "free")
    assert code == 6 and sentence("model-offline", name="free").search(err) and server.seen == []


def test_a_failed_model_does_not_stop_the_others(run: Run, server: Server) -> None:
    server.script = [hostile.refuse(404)]
    code, _, err = run("models", "fetch", "full", "--accept-licences")
    assert code == 6 and sentence("model-fetch-failed", name="free").search(err) and list_present() == ["strict"]


def test_an_unknown_name_is_refused_before_anything_is_fetched(run: Run, server: Server) -> None:
    code, _, err = run("models", "fetch", "free", "nonsense", "--accept-licences")
    assert code == 2 and sentence("model-unknown", name="nonsense").search(err) and server.seen == []


def test_the_users_files_are_recognised_by_content_and_pinned_with_a_notice(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    (tmp_path / "files/another").write_bytes(CONTENT)
    code, out, _ = run("models", "fetch", "--from", tmp_path / "files", "mine", "free", "--accept-licences")
    assert code == 0 and list_present() == ["free", "mine"]
    assert sentence("model-pinned", name="mine", file="m.pt").search(out) and "whatever" in out


def test_a_generator_without_an_encoder_is_reported_as_incomplete(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2p_core.commands.models.GENERATORS", {"free": "w.bin", "mine": "m.pt"})
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    said = [run("models", "fetch", "free", "--accept-licences")[1]]
    said += [run("models", "fetch", "--from", tmp_path / "files", "mine", "--accept-licences")[1]]
    for name, out in zip(("free", "mine"), said, strict=True):
        assert sentence("generator-without-encoder", name=name, folder=tmp_path / "root" / "stylegan2").search(out)
    assert "encoder" not in run("models", "fetch", "other", "--accept-licences")[1]


def test_the_licence_of_the_users_own_files_has_to_be_accepted_too(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    code, _, err = run("models", "fetch", "--from", tmp_path / "files")
    assert code == 2 and sentence("licences-not-accepted", names="mine").search(err) and list_present() == []


def test_a_folder_without_models_is_an_error(run: Run, tmp_path: Path) -> None:
    code, _, err = run("models", "fetch", "--from", tmp_path / "files", "mine")
    assert code == 6 and sentence("models-not-in-folder", names="mine").search(err)


def test_names_missing_from_the_folder_are_an_error_and_the_others_are_imported(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    code, _, err = run("models", "fetch", "mine", "free", "--from", tmp_path / "files", "--accept-licences")
    assert code == 6 and list_present() == ["mine"]
    assert sentence("models-not-in-folder", path=tmp_path / "files", names="free").search(err)


def test_a_name_missing_from_the_folder_is_no_error_if_its_model_is_present(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    run("models", "fetch", "free", "--accept-licences")
    code, out, err = run("models", "fetch", "mine", "free", "--from", tmp_path / "files", "--accept-licences")
    assert code == 0 and "free: is here already" in out and not err and list_present() == ["free", "mine"]


def test_models_missing_from_the_folder_are_not_verified(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    run("models", "fetch", "free", "--accept-licences")
    read: list[str] = []
    intact = ModelStore.is_intact
    monkeypatch.setattr(ModelStore, "is_intact", lambda self, name: read.append(name) or intact(self, name))
    code, out, _ = run("models", "fetch", "--from", tmp_path / "files", "--accept-licences")
    assert code == 0 and list_present() == ["free", "mine"] and "free: is here" not in out and set(read) == {"mine"}


def test_the_folder_may_hold_only_some_models_of_a_profile(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    assert run("models", "fetch", "full", "--from", tmp_path / "files", "--accept-licences")[0] == 0
    assert list_present() == ["mine"]


def test_verify_names_the_models_that_changed(run: Run, tmp_path: Path) -> None:
    torch.save(NETWORK.state_dict(), tmp_path / "files/whatever")
    run("models", "fetch", "--from", tmp_path / "files", "--accept-licences")
    assert run("models", "verify")[:2] == (0, "mine: good\n")
    torch.save({"weight": torch.zeros(5, 3)}, tmp_path / "root/mine/m.pt")
    code, _, err = run("models", "verify", "mine")
    assert code == 6 and sentence("model-changed", name="mine").search(err)


def test_remove_prints_the_space_that_it_freed(run: Run) -> None:
    run("models", "fetch", "free", "--accept-licences")
    assert run("models", "remove", "free", "other")[:2] == (0, "free: 0.0 MB removed\nother: was not here\n")
    assert list_present() == []


def test_list_shows_profile_use_and_layouts(run: Run) -> None:
    code, out, _ = run("models", "list")
    assert code == 0 and "research only" in out and "up to 0.0 MB" in out
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json")[1])}
    assert (rows["mine"]["profile"], rows["mine"]["use"]) == ("full", "research")
    assert rows["mine"]["files"][0]["layout"] == [["weight", [5, 3]]]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="has no pseudo-terminals")
def test_in_a_terminal_the_question_waits_for_an_answer(tmp_path: Path, run: Run, server: Server) -> None:
    code = (
        "import sys; from pathlib import Path; from c2p_core import cli; from c2p_core.models import store; store"
        f".bundle_dir = lambda: Path({str(tmp_path / 'bundle')!r}); sys.exit(cli.main(['models', 'fetch', 'free']))"
    )
    ours, theirs = os.openpty()
    running = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said and select.select([ours], [], [], 60)[0]:
        said += os.read(ours, 1000)
    assert b"MIT" in said and server.seen == []
    os.write(ours, b"y\n")
    assert running.wait(60) == 0
    os.close(ours)
    assert list_present() == ["free"]
