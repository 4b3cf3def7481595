"""The installer's decisions, without network: folders, stamps, errors, and that only its own folders are removed."""

from __future__ import annotations

import ast
import errno
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from string import Formatter
from typing import Any

import platformdirs
import pytest

from c2p_core.models import files
from c2p_core.models.store import ModelStore
from c2p_core.priors import checkpoint_files, inversion_cache
from installer import environment, folders, gimps, main, problems
from installer.folders import MARKER, Installation
from installer.messages import MESSAGES
from installer.problems import Stop
from tests.error_assertions import installer_sentence
from tests.own_home import move_into

ROOT = Path(__file__).resolve().parent.parent
WHEEL = "protect_face-0.2.0-py3-none-any.whl"
ALL = [environment.BUILD_TOOLS[-1], WHEEL, WHEEL]
MO = "worker_client/locale/de/LC_MESSAGES/protect-face.mo"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    move_into(folder, folder / "bin", monkeypatch)
    return folder


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "venv", tmp_path / "models")


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Records what pip would have been asked to do; the environment seems to run."""
    calls: list[list[str]] = []

    def pip(installation: Installation, job: str, arguments: list[str], **options: Any) -> None:
        calls.append([job, *arguments])
        fake_install(installation, job, arguments)

    monkeypatch.setattr(environment, "make_environment", lambda folder, say: calls.append(["make"]))
    monkeypatch.setattr(environment, "run_program", lambda command: subprocess.CompletedProcess(command, 0, ""))
    monkeypatch.setattr(environment, "check_packages", lambda installation: (0, []))
    monkeypatch.setattr(environment, "check_space", lambda folder: None)
    monkeypatch.setattr(environment, "run_pip", pip)
    return calls


def fake_install(installation: Installation, job: str, arguments: list[str]) -> None:
    """Leaves behind what pip would have made."""
    if job == "wheel":
        Path(arguments[arguments.index("--wheel-dir") + 1], WHEEL).touch()
    elif arguments[-1].endswith(WHEEL):
        find_installed_mo(installation).parent.mkdir(parents=True, exist_ok=True)
        find_installed_mo(installation).touch()


def find_installed_mo(installation: Installation) -> Path:
    return installation.venv / ("Lib" if sys.platform == "win32" else "lib/python3.99") / "site-packages" / MO


def list_installed(calls: list[list[str]]) -> list[str]:
    """What pip was asked to install, call by call: a package, an extra of ours, or a list."""
    return [Path(call[-1]).name for call in calls if call[0] == "install"]


def ignore(text: str) -> None:
    pass


# Folders


def test_no_test_of_the_installer_sees_this_users_gimp(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIMP3_DIRECTORY", str(tmp_path))
    assert gimps.find_profiles()
    move_into(home, home / "bin", monkeypatch)
    assert gimps.find_profiles() == gimps.find_programs() == ()


def test_c2p_home_moves_all_folders() -> None:
    installation = folders.find_installation(None, None, {"C2P_HOME": "/somewhere"})
    assert installation == Installation(Path("/somewhere/venv"), Path("/somewhere/models"))


def test_options_override_environment_variables() -> None:
    installation = folders.find_installation(Path("/v"), Path("/m"), {"C2P_HOME": "/somewhere", "C2P_MODELS": "/other"})
    assert installation == Installation(Path("/v"), Path("/m"))


def test_the_default_models_folder_is_the_one_that_c2p_uses() -> None:
    assert folders.data_home() == platformdirs.user_data_path("protect-face")
    assert folders.log_home() == platformdirs.user_log_path("protect-face")
    assert folders.cache_home() == platformdirs.user_cache_path("protect-face")
    assert folders.find_inversion_cache() == inversion_cache.default_folder()


@pytest.mark.parametrize("content", [None, {}])
def test_a_new_or_empty_folder_becomes_ours(tmp_path: Path, content: Any) -> None:
    folder = tmp_path / "a" / "b"
    if content is not None:
        folder.mkdir(parents=True)
    assert folders.claim(folder) and folders.is_ours(folder)


def test_a_folder_with_somebody_elses_files_is_left_alone(installation: Installation) -> None:
    installation.venv.mkdir()
    (installation.venv / "thesis.txt").write_text("mine")
    assert not folders.claim(installation.venv)
    with pytest.raises(Stop) as stopped:
        environment.prepare(installation, tests=False, offline=True, say=ignore)
    assert (stopped.value.code, stopped.value.exit_code) == ("folder-not-ours", 2)
    assert [entry.name for entry in installation.venv.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Stop) as stopped:
        folders.claim(tmp_path / "file" / "venv")
    assert stopped.value.code == "not-writable" and stopped.value.fields["path"] == tmp_path / "file" / "venv"


# What is installed when


def test_the_first_run_installs_and_the_second_does_nothing(
    installation: Installation, pip_calls: list[list[str]]
) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    first = list(pip_calls)
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert list_installed(first) == ALL and pip_calls == first
    tool, build, own, packages = first
    assert build[0] == "wheel" and build[-1] == str(ROOT) and "--no-build-isolation" in build
    assert "--no-deps" in own and "--no-deps" not in packages
    pinned = ["--constraint", str(environment.CONSTRAINTS)]
    assert tool[1:3] == packages[1:3] == pinned and tool[3:] == list(environment.BUILD_TOOLS)


def test_test_tools_are_added_to_what_is_there(installation: Installation, pip_calls: list[list[str]]) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    pip_calls.clear()
    environment.prepare(installation, tests=True, offline=False, say=ignore)
    assert list_installed(pip_calls) == [f"{WHEEL}[test]"]


def test_an_interrupted_installation_is_continued(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_pip(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(environment, "run_pip", kill_pip)
        with pytest.raises(KeyboardInterrupt):
            environment.prepare(installation, tests=False, offline=False, say=ignore)
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert list_installed(pip_calls) == ALL
    assert not list(installation.venv.glob("wheel-*"))


def test_changed_requirements_are_installed_and_other_parts_are_left_alone(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    known = folders.read_marker(installation.venv)
    folders.write_marker(installation.venv, known | {"packages": "of another time"})
    pip_calls.clear()
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert list_installed(pip_calls) == [environment.BUILD_TOOLS[-1], WHEEL]


def test_a_working_environment_is_kept_whichever_python_runs_the_installer(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    pip_calls.clear()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    environment.prepare(installation, tests=False, offline=True, say=ignore)
    assert pip_calls == []


def test_a_new_environment_is_made_by_a_python_outside_of_it_and_nothing_counts_as_installed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.claim(installation.venv)
    folders.write_marker(installation.venv, {"packages": "installed"})
    calls: list[tuple[str, dict[str, Any]]] = []

    def record(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command[0], folders.read_marker(installation.venv)))
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(sys, "executable", str(installation.python))
    monkeypatch.setattr(subprocess, "run", record)
    environment.make_environment(installation.venv, ignore)
    assert calls == [(environment.find_base_python(), {})]


def test_a_damaged_environment_is_made_anew(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    pip_calls.clear()
    monkeypatch.setattr(
        environment,
        "check_packages",
        lambda installation: (0, []) if ["make"] in pip_calls else (1, ["No module named 'torch'"]),
    )
    monkeypatch.setattr(
        environment,
        "make_environment",
        lambda folder, say: pip_calls.append(["make"]) or folders.write_marker(folder, {}),
    )
    with pytest.raises(Stop) as stopped:
        environment.prepare(installation, tests=False, offline=True, say=ignore)
    assert stopped.value.code == "environment-damaged-offline"
    assert stopped.value.fields == {"reason": "No module named 'torch'"} and pip_calls == []
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert pip_calls[0] == ["make"] and list_installed(pip_calls) == ALL


def test_a_folder_that_microsofts_store_hides_from_gimp_is_refused(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = r"C:\Users\me\AppData\Local\Packages\PythonSoftwareFoundation.Python.3.13_x\LocalCache\Local\protect-face"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os.path, "realpath", lambda path: hidden)
    with pytest.raises(Stop) as stopped:
        environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert stopped.value.code == "folder-hidden-by-store" and pip_calls == []


def test_a_missing_command_is_installed_again(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    pip_calls.clear()
    fails_for = [installation.c2p, "--help"]
    monkeypatch.setattr(
        environment, "run_program", lambda command: subprocess.CompletedProcess(command, command == fails_for)
    )
    environment.prepare(installation, tests=False, offline=True, say=ignore)
    assert list_installed(pip_calls) == [WHEEL] and "--force-reinstall" in pip_calls[-1]


def test_missing_translations_are_installed_again(installation: Installation, pip_calls: list[list[str]]) -> None:
    environment.prepare(installation, tests=False, offline=False, say=ignore)
    find_installed_mo(installation).unlink()
    pip_calls.clear()
    environment.prepare(installation, tests=False, offline=True, say=ignore)
    assert list_installed(pip_calls) == [WHEEL] and "--force-reinstall" in pip_calls[-1]
    assert list(environment.read_compiled_files(installation)) == [MO.removeprefix("worker_client/")]


def test_a_checkout_without_translations_is_reported_as_incomplete(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "read_compiled_files", lambda installation: {})
    with pytest.raises(Stop) as stopped:
        environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert (stopped.value.code, stopped.value.exit_code) == ("translations-missing", 6)
    assert list_installed(pip_calls) == ALL


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_the_check_finds_an_environment_without_its_packages(installation: Installation) -> None:
    assert environment.check_packages(Installation(Path(sys.prefix), installation.models))[0] == 0
    installation.python.parent.mkdir(parents=True)
    installation.python.symlink_to(environment.find_base_python())
    code, findings = environment.check_packages(installation)
    assert code and "No module named 'torch'" in findings[-1]


@pytest.mark.parametrize("offline", [True, False])
def test_a_failure_of_our_own_package_is_not_reported_as_a_network_failure(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    calls: list[tuple[list[str], bool]] = []

    def pip(installation: Installation, job: str, arguments: list[str], offline: bool, say: Any) -> None:
        calls.append((arguments, offline))
        fake_install(installation, job, arguments)

    monkeypatch.setattr(environment, "run_pip", pip)
    environment.prepare(installation, tests=False, offline=offline, say=ignore)
    own = [(arguments, forbidden) for arguments, forbidden in calls if "--no-deps" in arguments][:2]
    assert len(own) == 2 and all("--no-index" in arguments and not forbidden for arguments, forbidden in own)


def test_disk_space_is_checked_only_for_a_new_environment(
    installation: Installation, pip_calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(environment, "check_space", asked.append)
    environment.prepare(installation, tests=True, offline=False, say=ignore)
    folders.write_marker(installation.venv, folders.read_marker(installation.venv) | {"packages": "of another time"})
    environment.prepare(installation, tests=True, offline=False, say=ignore)
    assert asked == [installation.venv] and list_installed(pip_calls).count(environment.BUILD_TOOLS[-1]) == 2


def test_the_stamp_depends_on_content_and_names_but_not_on_built_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    first = environment.hash_content([tmp_path / "a"], tmp_path)
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "x.pyc").write_text("2")
    (tmp_path / "a" / "x.mo").write_text("2")
    assert environment.hash_content([tmp_path / "a"], tmp_path) == first
    (tmp_path / "a" / "x.py").write_text("2")
    second = environment.hash_content([tmp_path / "a"], tmp_path)
    (tmp_path / "a" / "x.py").rename(tmp_path / "a" / "y.py")
    assert len({first, second, environment.hash_content([tmp_path / "a"], tmp_path)}) == 3


def test_everything_that_the_package_is_built_from_exists() -> None:
    assert all((ROOT / name).exists() for name in environment.SOURCES)


def test_a_truncated_marker_counts_as_empty(installation: Installation) -> None:
    folders.claim(installation.venv)
    (installation.venv / MARKER).write_text('{"packages": "ab')
    assert folders.read_marker(installation.venv) == {}


def test_a_full_disk_is_noticed_before_pip_runs(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    installation.venv.mkdir()
    monkeypatch.setattr(environment, "NEEDED_BYTES", 10**18)
    with pytest.raises(Stop) as stopped:
        environment.check_space(installation.venv)
    assert stopped.value.code == "disk-too-small" and stopped.value.fields["needed_gb"] == 1e9


def test_a_python_without_venv_is_told_what_to_install(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Stop) as stopped:
        environment.prepare(installation, tests=False, offline=False, say=ignore)
    assert stopped.value.code == "venv-module-missing"


def test_a_module_is_compiled_when_it_is_first_imported_and_not_when_it_is_installed(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "")
        archive.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        archive.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("small-1.dist-info/RECORD", "")
    monkeypatch.setattr(Installation, "python", Path(sys.executable))
    installation.venv.mkdir()
    target = tmp_path / "packages"
    environment.run_pip(
        installation, "install", ["--no-deps", "--target", str(target), str(wheel)], offline=True, say=ignore
    )
    assert (target / "small.py").exists() and not (target / "__pycache__").exists()
    # A user's variable would have everything compiled again and again.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import small"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment.make_child_environment())
    assert (target / "__pycache__").exists()


# Errors


@pytest.mark.parametrize(
    ("output", "offline", "expected"),
    [
        ("OSError: [Errno 28] No space left on device", False, "pip-disk-full"),
        ("NewConnectionError('Temporary failure in name resolution')", False, "pip-no-network"),
        ("ERROR: No matching distribution found for torch==2.13.0", False, "pip-no-distribution"),
        ("ERROR: No matching distribution found for torch==2.13.0", True, "pip-offline"),
        ("PermissionError: Permission denied", False, "pip-not-permitted"),
        ("something new", False, "pip-failed"),
    ],
)
def test_a_failure_of_pip_becomes_a_code(output: str, offline: bool, expected: str) -> None:
    assert problems.explain_pip_error(output, offline, Path("log")).code == expected


def test_a_package_that_pip_does_not_find_is_named_with_the_pythons_that_are_supported() -> None:
    problem = problems.explain_pip_error("ERROR: No matching distribution found for torch==2.13.0", False, Path("log"))
    listed = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert problem.fields["requirement"] == "torch==2.13.0"
    assert f"a Python from {listed[0]} to {listed[-1]}" in str(problem)


def test_no_space_and_no_permission_are_told_apart() -> None:
    assert problems.explain_disk_error(OSError(errno.ENOSPC, "full"), Path("a")).code == "disk-full"
    assert problems.explain_disk_error(OSError(errno.EACCES, "no"), Path("a")).code == "not-writable"


def test_every_error_that_the_installer_raises_has_a_message_for_its_fields() -> None:
    raised: dict[str, set[str]] = {}
    for path in (ROOT / "installer").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Stop":
                assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
                fields = {str(keyword.arg) for keyword in node.keywords}
                assert raised.setdefault(str(node.args[0].value), fields) == fields
    fields = {code: {name for _, name, _, _ in Formatter().parse(text) if name} for code, text in MESSAGES.items()}
    assert raised == fields


def test_only_slow_steps_of_pip_are_shown() -> None:
    assert (
        environment.summarise_pip_line("  Downloading torch-2.13.0-cp311.whl (821.0 MB)\n")
        == "  downloading torch (821.0 MB)"
    )
    assert environment.summarise_pip_line("  Downloading click-8.5.1-py3-none-any.whl (98 kB)\n") == ""
    assert environment.summarise_pip_line("Installing collected packages: a, b, c\n") == "  installing 3 packages"
    assert environment.summarise_pip_line("Requirement already satisfied: a\n") == ""


# Photo and results


def test_results_are_put_beside_the_photo(tmp_path: Path) -> None:
    photo = tmp_path / "me.jpg"
    photo.touch()
    assert main.choose_paths(str(photo), None) == (
        photo,
        tmp_path / "me.protected.png",
        tmp_path / "me.report.json",
    )


def test_results_go_to_the_requested_place(tmp_path: Path) -> None:
    photo, out = tmp_path / "me.jpg", tmp_path / "out"
    photo.touch()
    out.mkdir()
    assert main.choose_paths(str(photo), out)[1] == out / "me.protected.png"
    assert main.choose_paths(str(photo), out / "x.tif")[1:] == (out / "x.tif", out / "x.report.json")


def test_without_a_photo_the_sample_is_put_beside_its_result(tmp_path: Path) -> None:
    assert main.choose_paths("", None)[0] == Path("astronaut.png")
    assert main.choose_paths("", tmp_path / "x.png")[:2] == (tmp_path / "astronaut.png", tmp_path / "x.png")


@pytest.mark.parametrize("output", [None, Path("/nowhere/at/all/x.png")])
def test_a_missing_photo_or_folder_is_noticed_before_anything_is_installed(
    tmp_path: Path, output: Path | None, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "me.jpg"
    if output is not None:
        photo.touch()
    arguments = ["--protect", str(photo), "--venv", str(tmp_path / "venv"), *(["-o", str(output)] if output else [])]
    assert main.main(arguments) == (5 if output else 3)
    assert not (tmp_path / "venv").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_options_are_passed_on_to_c2p(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def record(command: list[Any], *arguments: Any, **options: Any) -> int:
        commands.append([str(word) for word in command])
        return 0

    monkeypatch.setattr(main, "prepare", lambda *arguments, **options: None)
    monkeypatch.setattr(main, "run_child", record)
    photo = tmp_path / "me.jpg"
    photo.touch()
    folders = ["--venv", str(installation.venv), "--models", str(installation.models)]
    chosen = ["--strength", "0.3", "--hold-out", "dlib", "--lock", "nose", "--lock", "jaw", "--no-keep-expression"]
    assert main.main(["--protect", str(photo), *folders, *chosen]) == 0
    (protect,) = commands
    target, report = str(tmp_path / "me.protected.png"), str(tmp_path / "me.report.json")
    assert protect[1:6] == ["protect", "-o", target, "--report", report]
    assert protect[6:] == [*chosen, "--", str(photo)]
    del commands[:]
    assert main.main(["--protect", str(photo), *folders]) == 0
    assert commands[0][6:] == ["--", str(photo)]


# Testing


@pytest.mark.parametrize("quick", [False, True])
def test_the_quick_tests_skip_those_marked_as_slow(
    installation: Installation, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[Any]] = []
    built: list[Installation] = []
    monkeypatch.setattr(main, "prepare", lambda *arguments, **options: None)
    monkeypatch.setattr(main, "run_child", lambda command, *arguments, **options: commands.append(command) or 0)
    monkeypatch.setattr(main, "build_test_systems", built.append)
    command = ["--test", "quick"] if quick else ["--test"]
    assert main.main([*command, "--venv", str(installation.venv), "--models", str(installation.models)]) == 0
    assert [command[2] for command in commands] == ["ruff", "ruff", "mypy", "pytest"]
    options = commands[-1][3:]
    assert options[options.index("-m") :] == ["-m", main.QUICK] if quick else "-m" not in options
    assert len(built) == (0 if quick else 1)


# Removing


def test_uninstall_removes_everything_that_was_created_and_nothing_else(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").touch()
    for folder, inside in (
        (installation.venv, "lib"),
        (installation.models, "faceres"),
        (installation.models, ".partial-x1"),
    ):
        folders.claim(folder)
        (folder / inside).mkdir()
        (folder / inside / "file").touch()
    arguments = ["--uninstall", "--venv", str(installation.venv), "--models", str(installation.models)]
    assert main.main(arguments) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.jpg"]
    assert main.main(arguments) == 0


def test_uninstall_leaves_the_weights_that_the_user_put_beside_the_models(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.claim(installation.models)
    for name in ("faceres/faceres.bin", f"{checkpoint_files.FOLDER}/generator.pt"):
        (installation.models / name).parent.mkdir()
        (installation.models / name).touch()
    assert main.main(["--uninstall", "--venv", str(installation.venv), "--models", str(installation.models)]) == 0
    assert (installation.models / checkpoint_files.FOLDER / "generator.pt").exists() and not (
        installation.models / "faceres"
    ).exists()
    assert f"'{installation.models}' holds other files (stylegan2) and stays." in capsys.readouterr().out


def test_uninstall_removes_exactly_the_models_that_the_store_keeps() -> None:
    assert set(environment.list_fetched_models()) == {
        *(entry.name for entry in ModelStore().catalogue()),
        f"{files.PARTIAL_PREFIX}*",
        files.LOCKS,
        files.PINS,
    }


def test_uninstall_refuses_a_foreign_folder(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    installation.venv.mkdir()
    (installation.venv / "thesis.txt").touch()
    assert main.main(["--uninstall", "--venv", str(installation.venv), "--models", str(installation.models)]) == 2
    assert (installation.venv / "thesis.txt").exists()
    assert installer_sentence("removal-not-ours", folder=installation.venv).search(capsys.readouterr().err)


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_uninstall_follows_no_links(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folders.claim(installation.venv)
    (installation.venv / "link").symlink_to(tmp_path / "precious")
    folders.remove(installation.venv)
    assert (tmp_path / "precious" / "file").exists()
    installation.models.symlink_to(tmp_path / "precious")
    with pytest.raises(Stop):
        folders.remove(installation.models)


# The entry


def test_install_py_without_a_task_shows_its_help() -> None:
    run = subprocess.run([sys.executable, str(ROOT / "install.py")], capture_output=True, text=True)
    assert run.returncode == 2 and "--protect" in run.stdout


def test_install_py_needs_the_standard_library_only() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import installer.main; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    foreign = {name.partition(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names)
    assert foreign <= {"installer", "__main__"} | {name for name in foreign if name.startswith("_")}


def test_ci_runs_the_second_command_of_the_readme() -> None:
    assert "exec python3 install.py --test" in (ROOT / ".ci" / "run").read_text()
