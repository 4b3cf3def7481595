"""What an installation brings with it: every package is pinned, and every licence is one that THIRD_PARTY.md names."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from c2p_core.models.store import ModelStore

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("requirements.txt",)
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
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
# Conditions that ask something of whoever passes the program on: THIRD_PARTY.md names each package that has them.
NAMED_SINGLY = {"LGPL-3.0-or-later", "MPL-2.0", "proprietary"}


def written(name: str) -> Iterator[Requirement]:
    """The requirements in a file of ``bundle/``."""
    for line in (ROOT / "bundle" / name).read_text(encoding="utf-8").splitlines():
        if words := line.partition("#")[0].strip():
            yield Requirement(words)


def holds(requirement: Requirement, environment: dict[str, str], extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in extras | {""})


def brought(files: Sequence[str], platform: str = sys.platform) -> dict[str, list[Requirement]]:
    """Every package that these files bring to a platform, with what asked for it.

    The metadata of what is installed here tells; what is not installed here is listed without what it brings itself.
    """
    environment = dict(default_environment()) | PLATFORMS[platform]
    found: dict[str, list[Requirement]] = {}
    waiting = [wanted for name in files for wanted in written(name) if holds(wanted, environment, set())]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        known = {extra for other in found.get(name, []) for extra in other.extras}
        seen = name in found and wanted.extras <= known
        found.setdefault(name, []).append(wanted)
        if seen:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [other for other in map(Requirement, requires) if holds(other, environment, wanted.extras)]
    return found


def licences(name: str) -> set[str]:
    """What the installed package says of its licence, in THIRD_PARTY.md's names where they are known."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [entry.split(" :: ")[-1] for entry in metadata.get_all("Classifier") or [] if "License :: " in entry]
    said = metadata.get("License-Expression") or (metadata.get("License") if not classifiers else None)
    words = re.split(r" AND | OR | WITH |[()]", said) if said else classifiers or ["unknown"]
    known = {LICENCES.get(word.strip(), word.strip()) for word in words if word.strip()}
    return {
        "proprietary" if re.search("roprietary|NVIDIA", word) else re.sub(r"^BSD-\d-Clause$", "BSD", word)
        for word in known
    }


def rows(title: str) -> list[list[str]]:
    """The cells of the table in a section of THIRD_PARTY.md."""
    section = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]


def table() -> dict[str, str]:
    """Licence to what has it, by THIRD_PARTY.md."""
    found: dict[str, str] = {}
    for what, said, *_ in rows("Python packages"):
        for licence in said.split(", "):
            found[licence] = found.get(licence, "") + f" {what}"
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-no-deps.txt", "requirements-test.txt"])
def test_every_requirement_is_pinned(name: str) -> None:
    wanted = list(written(name))
    assert wanted and all(str(requirement.specifier).startswith("==") for requirement in wanted)


@pytest.mark.parametrize("files", [PRODUCT, (*PRODUCT, "requirements-test.txt")])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_requirements_bring_with_them_is_pinned(platform: str, files: Sequence[str]) -> None:
    environment = dict(default_environment()) | PLATFORMS[platform]
    pins = [pin for name in (*files, "constraints.txt") for pin in written(name) if holds(pin, environment, set())]
    pinned = {canonicalize_name(pin.name) for pin in pins}
    loose = {
        name: [str(other) for other in wanted]
        for name, wanted in brought(files, platform).items()
        # PyTorch pins NVIDIA's packages itself.
        if name not in pinned and not any(str(other.specifier).startswith("==") for other in wanted)
    }
    assert not loose


def test_every_licence_of_what_is_installed_is_named_among_the_third_parties() -> None:
    named = table()
    unknown = []
    for name in [*brought(PRODUCT), *(canonicalize_name(other.name) for other in written("requirements-no-deps.txt"))]:
        for licence in licences(name):
            if licence not in named:
                unknown.append(f"{name}: {licence}")
            elif licence in NAMED_SINGLY and name.partition("-")[0] not in named[licence].lower():
                unknown.append(f"{name}: {licence}, but THIRD_PARTY.md does not name it")
    assert not unknown


def test_every_model_is_among_the_third_parties_with_its_licence() -> None:
    named = {name: said.partition(" ")[0] for names, _, said, *_ in rows("Weights") for name in names.split(", ")}
    models = {entry.name: entry.licence for entry in ModelStore().entries()}
    assert models and {name: named.get(name) for name in models} == models
