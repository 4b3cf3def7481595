"""The words of the plug-in for GIMP 2.10: all of them are translated, and translations fit where they go."""

from __future__ import annotations

import ast
import gettext
import io
import re
from pathlib import Path

import pytest

from installer.translations import compiled

PLUG_IN = Path(__file__).resolve().parent.parent / "plugin" / "protect-face-gimp2"
CATALOGUES = sorted(PLUG_IN.glob("locale/*/LC_MESSAGES/*.po"))


def texts() -> set[str]:
    """Everything that the plug-in marks for translation."""
    found = set()
    for path in PLUG_IN.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "N_"):
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{path.name}, line {node.lineno}: not a plain text"
                found.add(str(argument.value))
    return found


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_text_is_translated_and_keeps_its_placeholders(path: Path) -> None:
    catalogue = gettext.GNUTranslations(io.BytesIO(compiled(path.read_text(encoding="utf-8"))))
    assert texts()
    for text in texts():
        translated = catalogue.gettext(text)
        assert translated != text, f"{text!r} is not translated"
        assert re.findall("%.", translated) == re.findall("%.", text)
        assert translated.startswith("<Image>/") == text.startswith("<Image>/")


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_no_translation_is_of_a_text_that_has_gone(path: Path) -> None:
    known = set(re.findall('^msgid "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE))
    assert known == texts()
