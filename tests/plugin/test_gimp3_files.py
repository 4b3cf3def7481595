"""The GIMP 3 plug-in's files, without a GIMP: what they import, and that every text has its German."""

from __future__ import annotations

import ast
import gettext
import io
import string
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.translations import compiled

PLUG_IN = Path(__file__).resolve().parent.parent.parent / "plugin" / "protect-face"
FILES = sorted(PLUG_IN.glob("*.py"))
GERMAN = PLUG_IN / "locale" / "de" / "LC_MESSAGES" / "protect-face.po"

Text = tuple[str, ...]


def texts() -> Iterator[Text]:
    """Every text that is handed to gettext: alone, or with its plural."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                count = {"_": 1, "ngettext": 2}.get(node.func.id, 0)
                words = [word.value for word in node.args[:count] if isinstance(word, ast.Constant)]
                if words:
                    yield tuple(words)


def fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None)


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compiled(GERMAN.read_text(encoding="utf-8"))))


def test_every_text_is_translated_with_the_same_fields(german: gettext.GNUTranslations) -> None:
    found = set(texts())
    assert len(found) > 100
    for words in found:
        said = [german.gettext(words[0])] if len(words) == 1 else [german.ngettext(*words, n) for n in (1, 2)]
        for original, translated in zip(words, said, strict=True):
            # Some words are the same in both languages, so that only the catalogue can tell.
            assert words[0] in known(german), f"not translated: {words[0]!r}"
            assert fields(original) == fields(translated), original


def known(german: gettext.GNUTranslations) -> set[str]:
    keys = german._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in keys}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_only_what_gimp_brings(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "gi", "worker_client", *(file.stem for file in FILES)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {module.partition(".")[0] for module in modules} <= allowed


def test_the_entry_file_stays_about_a_page() -> None:
    entry = PLUG_IN / "protect-face.py"
    assert len(entry.read_text(encoding="utf-8").splitlines()) < 160
    assert entry.stat().st_mode & 0o111, "GIMP ignores a plug-in that is not executable"
