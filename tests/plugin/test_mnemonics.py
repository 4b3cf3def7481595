"""Every control has a letter of its own in its window, in English and in German."""

from __future__ import annotations

import ast
import gettext
import io

import pytest
from worker_client.settings import AMOUNTS, LOCKS

from hatch_build import compile_translations
from tests.plugin.conftest import PLUGIN

CATALOGUE = "locale/de/LC_MESSAGES/protect-face.mo"
METER = ("Str_onger", "Try a_nother", "More sh_ape", "Details _by recogniser")
# GIMP's own buttons in the window of Protect Face: their letters in English and German.
HOST = ("chr", "chz")
# What the window of Protect Face shows on both of its pages of settings, while nothing is computed.
ALWAYS = (
    *("_Whole photo", "_Zoom to the face", "_1:1", "_View", "_Quick preview", "Search _in full", "Try _3 looks"),
    *("Fetch {count} missing mo_del ({size})", "_Protect"),
)
USUAL = (
    "Makeup st_yle",
    "Prese_ts…",
    "Stren_gth",
    "_Faces",
    "All open image_s",
    "_More",
    *(label for _, label, _ in AMOUNTS),
    *METER,
)
MORE = (
    *("Bac_k", "Keep e_xpression", *(label for _, _, label in LOCKS)),
    *("Res_ult", "Dir_ection", "Chan_ge by", "Number of s_teps", "Rand_om seed"),
)
SEARCHING = ("_Quick preview", "Search _in full", "Try _3 looks")
WINDOWS: dict[str, tuple[str, ...]] = {
    "settings": (*ALWAYS, *USUAL),
    "more settings": (*ALWAYS, *MORE),
    "settings while it computes": (*(text for text in (*ALWAYS, *USUAL) if text not in SEARCHING), "Stop search_ing"),
    "more settings while it computes": (
        *(text for text in (*ALWAYS, *MORE) if text not in SEARCHING),
        "Stop search_ing",
    ),
    "menu of a candidate": ("_Discard",),
    "presets": (
        *("Saved _presets", "_Name", "With the _thumbnail, which shows the face", "_Save settings"),
        *("_Use", "_Rename", "_Delete", "_Close"),
    ),
    "presets, overwriting": (
        *("Saved _presets", "_Name", "With the _thumbnail, which shows the face", "_Overwrite"),
        *("_Use", "_Rename", "_Delete", "_Close"),
    ),
    "deleting": ("_Cancel", "_Delete"),
    "check": ("Ori_ginal…", "Save _Report…", "As _Uploaded", "_Close", *METER),
    "original": ("_Which is the photo before it was protected?", "Original from _File…", "_Cancel", "_OK"),
    "original from a file": ("_Open", "_Cancel"),
    "report": ("_Save", "_Cancel"),
    "result": ("_Close", *METER),
    "worker": ("_Restart", "_Fetch Models", "_Diagnosis", "Cop_y", "_Help", "_Close"),
    "menu": ("_Protect Face…", "_Check Protection…", "_Strengthen Protection", "Protect Face _Worker…"),
}
# Arguments of procedures that have no window.
UNSEEN = {"_What", "_Original", "Original _file", "As _uploaded", "_Report", "_Do"}


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compile_translations(PLUGIN / "worker_client")[CATALOGUE]))


def list_letters(texts: tuple[str, ...]) -> list[str]:
    return [text.split("_", 1)[1][0].lower() for text in texts]


@pytest.mark.parametrize("window", WINDOWS)
def test_no_two_controls_of_a_window_share_a_letter(window: str, german: gettext.GNUTranslations) -> None:
    texts = WINDOWS[window]
    translated = tuple(german.ngettext(text, text, 1) if "{count}" in text else german.gettext(text) for text in texts)
    for shown, hosts in ((texts, HOST[0]), (translated, HOST[1])):
        letters = list_letters(shown) + list(hosts if "settings" in window else "")
        assert sorted({letter for letter in letters if letters.count(letter) > 1}) == [], shown


def test_every_label_with_a_letter_belongs_to_a_window() -> None:
    labels = set()
    for path in (PLUGIN / "protect-face").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("_", "N_", "ngettext"):
                labels |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant) and "_" in word.value}
    labels |= {label for _, label, _ in AMOUNTS} | {label for _, _, label in LOCKS}
    assert labels == {text for texts in WINDOWS.values() for text in texts} | UNSEEN
