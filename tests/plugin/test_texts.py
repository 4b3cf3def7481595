"""What both plug-ins and what they share say: every text has its German, and no German is of a text that has gone."""

from __future__ import annotations

import ast
import gettext
import io
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.translations import compiled

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"
SHARED = PLUGIN / "worker_client"
FILES = [
    file for name in ("worker_client", "protect-face", "protect-face-gimp2") for file in (PLUGIN / name).glob("*.py")
]
CATALOGUE = SHARED / "locale" / "de" / "LC_MESSAGES" / "protect-face.po"

Text = tuple[str, ...]


def trees() -> Iterator[ast.Module]:
    for path in FILES:
        yield ast.parse(path.read_text(encoding="utf-8"))


def texts() -> set[Text]:
    """Every text that is handed to gettext: alone, or with its plural."""
    found = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                count = {"_": 1, "N_": 1, "ngettext": 2}.get(node.func.id, 0)
                words = [word.value for word in node.args[:count] if isinstance(word, ast.Constant)]
                if words:
                    found.add(tuple(words))
    return found


def beginnings() -> tuple[str, ...]:
    """How the sentences of the client and the library begin, up to what is filled in."""
    found = set()
    for folder in (SHARED, PLUGIN.parent / "c2p_core"):
        for path in folder.rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            found |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return tuple(begin for begin in (text.partition("%")[0] for text in found) if len(begin) > 20)


def fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None)


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compiled(CATALOGUE.read_text(encoding="utf-8"))))


def known(german: gettext.GNUTranslations) -> set[str]:
    keys = german._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in keys} - {""}


def test_every_text_is_translated_with_the_same_fields(german: gettext.GNUTranslations) -> None:
    assert len(texts()) > 100
    for words in texts():
        said = [german.gettext(words[0])] if len(words) == 1 else [german.ngettext(*words, n) for n in (1, 2)]
        for original, translated in zip(words, said, strict=True):
            # Some words are the same in both languages, so that only the catalogue can tell.
            assert words[0] in known(german), f"not translated: {words[0]!r}"
            assert fields(original) == fields(translated), original
            assert translated.startswith("<Image>/") == original.startswith("<Image>/")


def test_no_translation_is_of_a_text_that_has_gone(german: gettext.GNUTranslations) -> None:
    for text in known(german) - {words[0] for words in texts()}:
        assert text.startswith(beginnings()), text
