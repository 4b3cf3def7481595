"""Translations and GIMP's help as the build makes them: what goes in, what stays out, and that a broken translation
fails the build."""

from __future__ import annotations

import gettext
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hatch_build import HELP_DOMAIN, compile_help, compile_translations
from installer.environment import make_child_environment

ROOT = Path(__file__).resolve().parent.parent
HEADER = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\nPlural-Forms: nplurals=2; plural=(n != 1);\\n"
"""
PO = f"""{HEADER}
msgid "Face"
msgstr "Gesicht ü"

msgctxt "menu"
msgid "Face"
msgstr ""
"Ge"
"sicht"

#, fuzzy
msgid "Guess"
msgstr "Falsch"

msgid "Later"
msgstr ""

msgid "%d face"
msgid_plural "%d faces"
msgstr[0] "%d Gesicht"
msgstr[1] "%d Gesichter"

#~ msgid "Old"
#~ msgstr "Alt"
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> gettext.GNUTranslations:
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "x.po").write_text(PO, encoding="utf-8")
    ((path, body),) = compile_translations(tmp_path).items()
    assert path == "de/x.mo"
    return gettext.GNUTranslations(io.BytesIO(body))


def test_gettext_reads_texts_with_their_contexts_and_plurals(catalogue: gettext.GNUTranslations) -> None:
    assert catalogue.gettext("Face") == "Gesicht ü"
    assert catalogue.pgettext("menu", "Face") == "Gesicht"
    assert [catalogue.ngettext("%d face", "%d faces", count) for count in (1, 2)] == ["%d Gesicht", "%d Gesichter"]


@pytest.mark.parametrize("text", ["Guess", "Later", "Old"], ids=["fuzzy", "empty", "obsolete"])
def test_what_is_no_translation_yet_or_any_more_is_left_out(catalogue: gettext.GNUTranslations, text: str) -> None:
    assert catalogue.gettext(text) == text


@pytest.mark.parametrize(
    "fault",
    [
        "nonsense",
        "msgid no quotes",
        'msgwhat "x"',
        'msgid "a"\nmsgid "b"\nmsgstr "c"',
        'msgid "a"\nmsgid_plural "b"\nmsgstr[x] "c"',
    ],
)
def test_a_malformed_translation_is_refused_with_its_name(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "x.po"
    path.write_text(f"{HEADER}\n{fault}\n", encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        compile_translations(tmp_path)
    assert str(refused.value).startswith(f"'{path}' can't be compiled (")


def test_the_help_of_every_procedure_is_a_heading_of_a_page_and_no_link_leads_nowhere() -> None:
    pages = compile_help(ROOT / "docs")
    index = ElementTree.fromstring(pages.pop("help/en/gimp-help.xml"))
    topics = {item.get(f"{{{HELP_DOMAIN}}}id"): item.get("ref", "") for item in index.iter("help-item")}
    entry = (ROOT / "plugin" / "protect-face" / "protect-face.py").read_text(encoding="utf-8")
    assert set(topics) == set(re.findall(r'"(plug-in-protect-face[\w-]*)"', entry))
    texts = {path.removeprefix("help/en/"): body.decode() for path, body in pages.items()}
    links = [(name, link) for name, text in texts.items() for link in re.findall(r'href="([^"]*)"', text)]
    for name, link in [*links, *(("", ref) for ref in topics.values())]:
        if "://" not in link:
            page, _, heading = link.partition("#")
            assert page in {"", *texts} and f'id="{heading}"' in texts[page or name] + 'id=""', (name, link)
    assert f'HELP_DOMAIN = "{HELP_DOMAIN}"' in entry
    assert "<td>Makeup style</td>" in texts["gimp.html"] and not re.search("<img|!\\[", "".join(texts.values()))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the package is built from, with small stand-ins for what is large and a single translation."""
    for name in ("pyproject.toml", "hatch_build.py", ".gitignore", "README.md", "LICENSE", "THIRD_PARTY.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    german = tmp_path / "plugin" / "worker_client" / "locale" / "de" / "LC_MESSAGES"
    for folder in (tmp_path / "c2p_core", tmp_path / "bundle" / "mini", tmp_path / "bundle" / "models", german):
        folder.mkdir(parents=True)
    for name in ("version.py", "prior_registry.py"):
        shutil.copy(ROOT / "c2p_core" / name, tmp_path / "c2p_core")
    (tmp_path / "bundle" / "manifest.toml").touch()
    (german / "x.po").write_text(PO, encoding="utf-8")
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("images"))
    return tmp_path


def pip(project: Path, job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", job, "--no-index", "--no-deps"]
    result = ["--no-build-isolation", "--no-cache-dir"]
    return subprocess.run(
        [*command, *result, *arguments], capture_output=True, text=True, env=make_child_environment(), cwd=project
    )


def test_a_malformed_translation_fails_the_build(project: Path) -> None:
    (path,) = project.rglob("*.po")
    path.write_text("nonsense\n")
    run = pip(project, "wheel", "--wheel-dir", "made", ".")
    assert run.returncode != 0 and f"'{path}' can't be compiled (" in run.stderr + run.stdout
    assert not list(project.glob("made/*.whl"))


def test_a_build_leaves_the_checkout_as_it_was(project: Path) -> None:
    before = sorted((project / "plugin").rglob("*"))
    run = pip(project, "wheel", "--wheel-dir", "made", ".")
    assert run.returncode == 0, run.stderr
    assert sorted((project / "plugin").rglob("*")) == before


def test_an_editable_installation_has_translations_help_and_priors_where_they_are_looked_for(project: Path) -> None:
    run = pip(project, "install", "--target", "packages", "--editable", ".")
    assert run.returncode == 0, run.stderr
    (path,) = project.glob("plugin/worker_client/locale/de/LC_MESSAGES/*.mo")
    assert gettext.GNUTranslations(io.BytesIO(path.read_bytes())).gettext("Face") == "Gesicht ü"
    assert (project / "plugin" / "worker_client" / "help" / "en" / "gimp-help.xml").exists()
    assert (project / "plugin" / "worker_client" / "priors.json").exists()
