"""The project's list of models: what each entry states, and what a manifest may not hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from c2p_core.errors import ModelUnavailable
from c2p_core.models.manifest import BundleSource, HttpsSource, ModelEntry, Profile, read_manifest
from c2p_core.models.store import bundle_dir
from c2p_core.priors.checkpoint_files import GENERATORS, SHIPPED_GENERATOR
from tests.error_assertions import raising

MANIFEST = bundle_dir() / "manifest.toml"
ENTRIES = read_manifest(MANIFEST)
EACH = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


def find_entry(name: str) -> ModelEntry:
    return next(entry for entry in ENTRIES if entry.name == name)


def test_every_entry_states_role_profile_use_and_licence_itself() -> None:
    tables = MANIFEST.read_text(encoding="utf-8").split("[[model]]")[1:]
    assert len(tables) == len(ENTRIES)
    for table in tables:
        for field in ("role", "profile", "use", "licence", "origin"):
            assert re.search(rf'^{field} = "[^"]+"$', table, re.MULTILINE), (field, table)


def test_names_are_unique_and_none_is_that_of_a_profile() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names) and not set(get_args(Profile)) & set(names)


def test_generators_without_an_encoder_are_found_by_the_names_of_their_files() -> None:
    for name, file in GENERATORS.items():
        entry = find_entry(name)
        assert (entry.role, entry.profile, [listed.name for listed in entry.files]) == ("prior", "named", [file])
    assert find_entry(SHIPPED_GENERATOR).profile == "embedded"


@EACH
def test_models_used_by_default_ship_with_hashes_and_allow_any_use(entry: ModelEntry) -> None:
    ships = any(isinstance(source, BundleSource) for source in entry.sources)
    assert ships == (entry.profile == "embedded")
    if ships:
        assert entry.use == "any" and all(file.sha256 and file.size for file in entry.files)


@EACH
def test_a_licence_is_spdx_and_one_that_is_not_free_is_for_research(entry: ModelEntry) -> None:
    words = set(re.split(r" AND | OR ", entry.licence))
    free = {"MIT", "Apache-2.0", "CC0-1.0"}
    restricted = {"LicenseRef-NVIDIA-Source-Code", "LicenseRef-unstated"}
    assert words <= free | restricted
    assert (entry.use == "research") == bool(words & restricted)


@EACH
def test_fetched_files_come_over_https_and_have_a_known_hash(entry: ModelEntry) -> None:
    fetched = [source for source in entry.sources if isinstance(source, HttpsSource)]
    assert all(source.url.startswith("https://") for source in fetched)
    assert not fetched or all(file.sha256 for file in entry.files)
    assert len(entry.files) == 1 or not any(source.exact for source in fetched)


@EACH
def test_every_file_that_does_not_ship_can_be_recognised_and_is_bounded(entry: ModelEntry) -> None:
    for file in entry.files if entry.profile != "embedded" else ():
        assert file.sha256 or file.layout
        assert 0 < file.at_most <= 2_000_000_000 and file.size in (0, file.at_most)


@EACH
def test_a_recogniser_has_a_module_a_family_and_outside_the_bundle_a_threshold(entry: ModelEntry) -> None:
    if entry.role != "recogniser":
        assert not entry.module and not entry.family and entry.default is None
        return
    assert entry.module.startswith("c2p_core.recognition.") and entry.family
    if entry.profile != "embedded":
        assert entry.default is not None and 0 < entry.default.threshold < 1 and entry.default.says


def test_no_two_models_have_the_same_file() -> None:
    hashes = [file.sha256 for entry in ENTRIES for file in entry.files if file.sha256]
    assert len(set(hashes)) == len(hashes)


# Another file has another licence and another network, and its notes have to be written anew.
REVIEWED = {
    "clip-openai": ("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 0),
    "clip-laion": ("ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6", 605_143_316),
    "e4e-ffhq": ("2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999", 1_201_649_680),
    "stylegan2-ffhq-nvidia": ("a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", 381_624_121),
    "facenet": ("281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b", 111_898_327),
    "sface": ("0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79", 38_696_353),
}


def test_fetchable_models_have_the_hashes_and_sizes_that_were_reviewed() -> None:
    fetched = [entry for entry in ENTRIES if entry.fetchable]
    assert {entry.name: (file.sha256, file.size) for entry in fetched for file in entry.files} == REVIEWED


GOOD = """
[[model]]
name = "a"
role = "prior"
profile = "named"
use = "research"
licence = "MIT"
origin = "a test"
files = [{ name = "a.pt", at_most = 10, layout = { "w" = [1, 2] } }]
sources = [{ kind = "https", url = "https://example.org/a?b=c", exact = true }]
"""


def test_a_file_may_lack_hash_and_size_if_it_has_a_size_limit(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(GOOD)
    (entry,) = read_manifest(tmp_path / "m.toml")
    (file,) = entry.files
    assert (file.sha256, file.size, file.at_most, file.layout) == ("", 0, 10, (("w", (1, 2)),))
    assert entry.size == 10 and not entry.is_size_known
    (source,) = entry.sources
    assert isinstance(source, HttpsSource) and source.address("a.pt") == "https://example.org/a?b=c"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('role = "prior"', 'role = "judge"'),
        ('profile = "named"', 'profile = "half"'),
        ('use = "research"', 'use = "fun"'),
        ("at_most = 10,", ""),
        ('name = "a.pt"', 'name = "../a.pt"'),
        ('name = "a.pt"', 'name = ".pins"'),
        ('name = "a.pt",', 'name = "a.pt", sha256 = "beef",'),
        ('kind = "https"', 'kind = "ftp"'),
        ('name = "a"', 'name = "a/b"'),
        ('role = "prior"', 'role = "prior"\ndefault = { threshold = nan, says = "x" }'),
        ('role = "prior"', 'role = "prior"\ndefault = { threshold = 0.3, far01 = 1.5, says = "x" }'),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, good: str, bad: str) -> None:
    assert good in GOOD
    (tmp_path / "m.toml").write_text(GOOD.replace(good, bad))
    with raising(ModelUnavailable, "manifest-unreadable"):
        read_manifest(tmp_path / "m.toml")
