"""What the plug-in for GIMP 2.10 is written in: Python 2.7 and words that are all translated."""

from __future__ import annotations

import ast
import gettext
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from installer.translations import compiled

PLUG_IN = Path(__file__).resolve().parents[2] / "plugin" / "protect-face-gimp2"
CATALOGUES = sorted(PLUG_IN.glob("locale/*/LC_MESSAGES/*.po"))


# "gimpfu" is the host's, the others are the plug-in's own; those for type checkers only stand behind TYPE_CHECKING.
IMPORTS = {
    "gettext",
    "json",
    "os",
    "sys",
    "gimpfu",
    "worker_client",
    "gimp2_layers",
    "gimp2_pixels",
    "gimp2_texts",
}


@pytest.mark.parametrize("path", sorted(PLUG_IN.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_its_host_only(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= IMPORTS


def test_it_is_python_2_7() -> None:
    command = [sys.executable, "-c", "import vermin; vermin.main()", "-t=2.7", "--no-tips", str(PLUG_IN)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


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
