"""What an installation brings with it: one list says what is needed, every package is pinned, and every licence is one
that THIRD_PARTY.md names."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from c2p_core.models.store import ModelStore
from installer import environment
from installer.environment import CONSTRAINTS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
OWN = canonicalize_name(PROJECT["name"])
BUILD_TOOLS = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
PLATFORMS = {
    "linux": {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"},
    "darwin": {"os_name": "posix", "sys_platform": "darwin", "platform_system": "Darwin"},
    "win32": {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows"},
}
# Names that packages use for licences, where they don't use those of SPDX.
LICENCES = {
    "3-Clause BSD License": "BSD",
    "0BSD": "BSD",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Boost Software License": "BSL-1.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
# Modules of packages that some Pythons and machines have no wheels for, so that nothing installed tells.
ELSEWHERE = {"jpegio": "pyjpegio"}
OPTIONAL = ("frbench", "full", "heif", "onnx", "ray", "remote")
# Conditions that ask something of whoever passes the program on: THIRD_PARTY.md names each package that has them.
NAMED_SINGLY = {"LGPL-3.0", "LGPL-3.0-or-later", "MPL-2.0", "proprietary"}


def read_declared(extra: str = "") -> list[Requirement]:
    """What pyproject.toml says is needed: always, or for an extra, with what that extra includes."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    requirements = []
    for requirement in map(Requirement, lines):
        is_own = canonicalize_name(requirement.name) == OWN
        requirements += (
            [nested for name in sorted(requirement.extras) for nested in read_declared(name)]
            if is_own
            else [requirement]
        )
    return requirements


def read_lines(path: Path) -> Iterator[Requirement]:
    """The lines of a requirements file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if words := line.partition("#")[0].strip():
            yield Requirement(words)


def names(requirements: Iterable[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def list_imported(*folders: str) -> set[str]:
    """The distributions that the modules in these folders import, our own left out."""
    modules = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    own_modules = {path.stem for path in (*ROOT.iterdir(), *(ROOT / "plugin").iterdir())}
    foreign = modules - set(sys.stdlib_module_names) - own_modules
    return {
        canonicalize_name(name)
        for module in foreign
        for name in distributions.get(module, [ELSEWHERE.get(module, module)])
    } - {OWN}


def applies_here(requirement: Requirement, environment: dict[str, str], extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in extras | {""})


def resolve(wanted_first: Iterable[Requirement], platform: str = sys.platform) -> dict[str, list[Requirement]]:
    """Every package that these requirements bring to a platform, with what asked for it.

    The metadata of what is installed here tells; what is not installed here is listed without what it brings itself.
    """
    environment = dict(default_environment()) | PLATFORMS[platform]
    installed: dict[str, list[Requirement]] = {}
    waiting = [current for current in wanted_first if applies_here(current, environment, set())]
    while waiting:
        current = waiting.pop()
        name = canonicalize_name(current.name)
        known_extras = {extra for requirement in installed.get(name, []) for extra in requirement.extras}
        seen = name in installed and current.extras <= known_extras
        installed.setdefault(name, []).append(current)
        if seen:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [
            requirement
            for requirement in map(Requirement, requires)
            if applies_here(requirement, environment, current.extras)
        ]
    return installed


def licences(name: str) -> set[str]:
    """What the installed package says of its licence, in THIRD_PARTY.md's names where they are known."""
    files = importlib.metadata.files(name)
    if files and all(file.parts[0].endswith(".dist-info") for file in files):
        # It holds nothing and only names others, as cuda-toolkit does.
        return set()
    metadata = importlib.metadata.metadata(name)
    classifiers = [entry.split(" :: ")[-1] for entry in metadata.get_all("Classifier") or [] if "License :: " in entry]
    expression = metadata.get("License-Expression") or (metadata.get("License") if not classifiers else None)
    parts = re.split(r" AND | OR | WITH |[()]", expression) if expression else classifiers or ["unknown"]
    names = {LICENCES.get(word.strip(), word.strip()) for word in parts if word.strip()}
    return {
        "proprietary" if re.search("roprietary|NVIDIA", word) else re.sub(r"^BSD-\d-Clause$", "BSD", word)
        for word in names
    }


def read_rows(title: str) -> list[list[str]]:
    """The cells of the table in a section of THIRD_PARTY.md."""
    section = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]


def read_table() -> dict[str, str]:
    """Licence to what has it, by THIRD_PARTY.md."""
    packages_by_licence: dict[str, str] = {}
    for package, licences, *_ in read_rows("Python packages"):
        for licence in licences.split(", "):
            packages_by_licence[licence] = packages_by_licence.get(licence, "") + f" {package}"
    return packages_by_licence


def test_the_product_imports_exactly_its_declared_dependencies() -> None:
    # open_clip imports torchvision; c2p_core/torchvision_ops.py readies it and says which versions it knows.
    # HEIF and recognisers that a user adds are read where somebody has installed what reads them.
    optional = [requirement for extra in OPTIONAL for requirement in read_declared(extra)]
    # fsspec imports s3fs for URLs of S3.
    assert list_imported("c2p_core") | {"torchvision", "s3fs"} == names([*read_declared(), *optional])


def test_the_extras_have_all_that_benchmarks_import() -> None:
    assert list_imported("benchmarks") <= names(read_declared()) | names(read_declared("benchmarks"))


def test_the_installer_fetches_the_build_dependencies() -> None:
    assert names(map(Requirement, environment.BUILD_TOOLS)) == names(BUILD_TOOLS) <= names(read_declared("test"))


def test_the_tested_versions_are_exact_and_within_the_declared_ranges() -> None:
    environment = dict(default_environment())
    pins = {
        canonicalize_name(pin.name): pin for pin in read_lines(CONSTRAINTS) if applies_here(pin, environment, set())
    }
    assert all(re.fullmatch(r"==[^,*]+", str(pin.specifier)) for pin in read_lines(CONSTRAINTS))
    outside = [
        f"{requirement} {pin}"
        for requirement in (*read_declared(), *read_declared("dev"))
        if applies_here(requirement, environment, set())
        and not requirement.specifier.contains(str((pin := pins[canonicalize_name(requirement.name)]).specifier)[2:])
    ]
    assert outside == []


@pytest.mark.parametrize("extra", ["", "dev"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_of_an_installation_is_pinned(platform: str, extra: str) -> None:
    environment = dict(default_environment()) | PLATFORMS[platform]
    pinned = names(pin for pin in read_lines(CONSTRAINTS) if applies_here(pin, environment, set()))
    wanted_first = [*read_declared(), *(read_declared(extra) if extra else []), *BUILD_TOOLS]
    loose = {
        name: [str(requirement) for requirement in requirements]
        for name, requirements in resolve(wanted_first, platform).items()
        # PyTorch pins most of NVIDIA's packages itself.
        if name not in pinned and not any(str(requirement.specifier).startswith("==") for requirement in requirements)
    }
    assert not loose


def test_every_licence_of_an_installed_package_is_in_third_party_md() -> None:
    packages_by_licence = read_table()
    unknown = []
    installed = {canonicalize_name(package.name) for package in importlib.metadata.distributions()}
    for name in sorted(installed & resolve([*read_declared(), *read_declared("dev"), *BUILD_TOOLS]).keys()):
        for licence in licences(name):
            if licence not in packages_by_licence:
                unknown.append(f"{name}: {licence}")
            elif licence in NAMED_SINGLY and name.partition("-")[0] not in packages_by_licence[licence].lower():
                unknown.append(f"{name}: {licence}, but THIRD_PARTY.md does not name it")
    assert not unknown


def test_third_party_md_names_every_package_of_an_extra() -> None:
    named = {canonicalize_name(name) for cell, *_ in read_rows("Python packages") for name in re.split(r", | ", cell)}
    assert names(read_declared("dev")) - names(read_declared()) <= named


def test_the_extra_for_developers_includes_all_others() -> None:
    packages = names(read_declared("dev"))
    assert {extra for extra in PROJECT["optional-dependencies"] if not names(read_declared(extra)) <= packages} == set()


@pytest.mark.parametrize(("title", "ships"), [("Weights", True), ("Weights that you may add", False)])
def test_every_model_is_in_third_party_md_with_its_licence(title: str, ships: bool) -> None:
    licences = {
        name: licence.partition(" (")[0] for names, _, licence, *_ in read_rows(title) for name in names.split(", ")
    }
    models = {entry.name: entry.licence for entry in ModelStore().catalogue() if (entry.profile == "embedded") == ships}
    assert models and {name: licences.get(name) for name in models} == models
