"""What both plug-ins and what they share say: every text has its German, and no German is of a text that has gone."""

from __future__ import annotations

import ast
import gettext
import io
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from worker_client import WorkerProblem
from worker_client import texts as texts_of_plugins
from worker_client.location import WorkerLocation
from worker_client.messages import ENGLISH, Message
from worker_client.start import start

from c2p_core.errors import BadRequest
from c2p_core.faces.detect import explain_too_small
from c2p_core.guidance.languages import to_english
from c2p_core.guidance.vocabulary import PRESETS, choose_makeup, read_prompt
from c2p_core.priors.checkpoint_files import missing_priors
from c2p_core.worker.job_header import JobHeader
from hatch_build import compile_translations

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"
SHARED = PLUGIN / "worker_client"
FILES = [
    file for name in ("worker_client", "protect-face", "protect-face-gimp2") for file in (PLUGIN / name).glob("*.py")
]
CATALOGUE = "locale/de/LC_MESSAGES/protect-face.mo"

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


def fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None)


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compile_translations(SHARED)[CATALOGUE]))


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


def test_german_presets_mean_what_the_english_ones_mean(german: gettext.GNUTranslations) -> None:
    for preset in PRESETS:
        translated = to_english(german.gettext(preset))
        assert read_prompt(translated).unknown == () and read_prompt(translated).known
        assert choose_makeup(translated, random.Random(1)) == choose_makeup(preset, random.Random(1))


def test_no_translation_is_of_a_text_that_has_gone(german: gettext.GNUTranslations) -> None:
    assert known(german) - {words[0] for words in texts()} == set()


def test_every_message_of_the_catalogue_is_translated(german: gettext.GNUTranslations) -> None:
    assert set(ENGLISH.values()) - known(german) == set()


def test_what_the_library_and_the_client_really_say_is_said_in_german(
    german: gettext.GNUTranslations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    (tmp_path / "stylegan2").mkdir()
    (tmp_path / "stylegan2" / "generator.pt").touch()
    with pytest.raises(BadRequest) as refused:
        JobHeader({"seed": 12_345_678_901}).integer("seed", 0, 0, 2**31 - 1)
    (missing,) = missing_priors(tmp_path).values()
    with pytest.raises(WorkerProblem) as failed:
        start(WorkerLocation("test", ["/no/such/python"], str(tmp_path / "run"), {}))
    skipped = explain_too_small(12.0)
    assert skipped is not None
    messages = (missing, failed.value.message, skipped, refused.value.message)
    # As they travel: through JSON.
    sent = [json.loads(json.dumps(m if isinstance(m, dict) else m.described())) for m in messages]
    said = [texts_of_plugins.sentence(message) for message in sent]
    assert said[0].startswith("Der Datei generator.pt in ") and str(tmp_path) in said[0]
    assert said[1].startswith("Das Arbeitsprogramm /no/such/python kann nicht gestartet werden (")
    assert said[1].endswith("; führen Sie im Ordner von Protect Face „python3 install.py --gimp“ aus, das behebt es.")
    assert said[2] == "die Augen sind 12 px voneinander entfernt, und mindestens 40 px sind nötig"
    assert said[3] == "seed 12345678901 hat keine Bedeutung; der Wert geht von 0 bis 2147483647."


def test_a_message_inside_a_message_is_translated_too(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    why = Message("model-unreadable", path="/m", reason="why")
    assert texts_of_plugins.sentence(Message("recogniser-left-out", name="sface", why=why).described()) == (
        "Ohne den Erkenner sface: Die Modelldatei /m kann nicht gelesen werden (why); prüfen Sie ihre Zugriffsrechte."
    )


def test_a_code_of_a_later_worker_is_told_in_its_english(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    later = {"code": "of-a-later-version", "fields": {}, "text": "What nobody ever wrote; try it."}
    assert texts_of_plugins.sentence(later) == "What nobody ever wrote; try it."


def test_what_the_worker_computes_on_is_its_card_or_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts_of_plugins.device_name({"device_name": "RTX", "cores": 8}) == "RTX"
    assert "8" in texts_of_plugins.device_name({"device_name": None, "cores": 8})


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (Message("profile-embedded"), ENGLISH["profile-embedded"]),
        (Message("profile-auto-without-gpu"), ENGLISH["profile-auto-without-gpu"]),
        (Message("profile-auto-full", device="a card"), ENGLISH["profile-auto-full"].format(device="a card")),
    ],
)
def test_the_line_on_the_profile_is_the_workers_reason(why: Message, words: str) -> None:
    hello = {"profile": {"name": "full", "why": why.described()}}
    assert texts_of_plugins.profile(hello) == words


def test_a_worker_of_before_has_no_line_on_the_profile() -> None:
    assert texts_of_plugins.profile({"device": "cpu"}) == ""


def test_bytes_of_python_2_are_looked_up_as_the_text_that_they_spell(
    monkeypatch: pytest.MonkeyPatch, gimpfu: ModuleType
) -> None:
    import gimp2_texts

    monkeypatch.setattr(texts_of_plugins, "_", {"…or one of these": "…oder einer davon"}.get)
    assert gimp2_texts._("…or one of these".encode()) == "…oder einer davon"
