"""What both plug-ins and what they share say: every text has its German, and no German is of a text that has gone."""

from __future__ import annotations

import ast
import gettext
import io
import re
import string
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from worker_client import WorkerProblem
from worker_client import texts as texts_of_plugins
from worker_client.place import Place
from worker_client.sentences import SENTENCES, in_words
from worker_client.start import start

from c2p_core.errors import BadRequest
from c2p_core.faces.detect import why_skipped
from c2p_core.priors.checkpoint_files import missing_priors
from c2p_core.worker.fields import Fields
from installer.translations import compiled

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"
SHARED = PLUGIN / "worker_client"
FILES = [
    file for name in ("worker_client", "protect-face", "protect-face-gimp2") for file in (PLUGIN / name).glob("*.py")
]
CATALOGUE = SHARED / "locale" / "de" / "LC_MESSAGES" / "protect-face.po"

# Where the sentences come from that are said in English and shown to users of GIMP.
SPEAKERS = [
    *(SHARED / f"{name}.py" for name in ("client", "place", "start")),
    *(
        PLUGIN.parent / "c2p_core" / f"{name}.py"
        for name in (
            *(
                "compare",
                "faces/boxes",
                "faces/detect",
                "faces/select",
                "guidance/looks",
                "models/loaded",
                "models/store",
            ),
            *("pipeline", "priors/checkpoint_files", "priors/wplus", "subjects", "validate"),
            *("recognition/__init__", "worker/compute", "worker/fields", "worker/jobs", "worker/server"),
        )
    ),
]
# Of those, what only a plug-in with an error in it, or the command line, gets to hear.
NOT_FOR_USERS = (
    *(
        "A job of this connection",
        "No photo was sent",
        "A check needs an original",
        "{} pictures named",
        "There is no ",
    ),
    *(
        "{} steps have no meaning",
        "Seed {} has",
        "Strength {} has",
        "The original and the edited",
        "The two pictures have different",
    ),
    *(
        "The worker can't make sense of",
        "{} gives codes of",
        "Only a generator has noise",
        "The model {} is not there or incomplete ({}); {}.",
    ),
    *(
        "All the recognisers that were named",
        # Of recognisers that somebody added.
        "This project has not measured",
        "The recogniser {} needs the Python module",
        "The module {} of the recogniser",
    ),
)

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


def spelled() -> Iterator[str]:
    """Every sentence of ``SPEAKERS`` that says what to do, with {} for what is filled in."""
    for path in SPEAKERS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words = {node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.Constant))}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                words -= set(ast.walk(node)) - {node}
            if isinstance(node, ast.Expr):  # a docstring
                words -= {node.value}
        for node in words:
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            text = re.sub(r"%[sd]", "{}", text)
            if len(text) > 30 and re.search(r"; |\.$", text):
                yield text


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


def test_every_sentence_that_a_user_may_read_is_known() -> None:
    ours = [*SENTENCES, *(words[0] for words in texts())]
    found = [text for text in spelled() if not text.startswith(NOT_FOR_USERS)]
    assert all(any(text.startswith(begin) for text in spelled()) for begin in NOT_FOR_USERS)
    assert len(found) > 40
    for text in found:
        begins = re.compile(re.escape(text).replace(re.escape("{}"), ".+"))
        assert any(begins.match(known) for known in ours), text


@pytest.mark.parametrize(
    ("said", "german_words"),
    [
        (
            "The model clip is not there or incomplete (x); run `c2p models fetch clip` once with a network, without"
            " --offline.",
            "Das Modell clip fehlt oder ist unvollständig (x); führen Sie einmal mit Netz „c2p models fetch clip“"
            " ohne --offline aus.",
        ),
        (
            "Without the recogniser sface: The model file /m can't be read (why); check its rights.",
            "Ohne den Erkenner sface: Die Modelldatei /m kann nicht gelesen werden (why); prüfen Sie ihre"
            " Zugriffsrechte.",
        ),
        (
            "The word 'grün' means nothing to the text model; closest known words: green, grunge.",
            "Das Wort 'grün' sagt dem Textmodell nichts; ähnliche bekannte Wörter: green, grunge.",
        ),
        ("What nobody ever wrote; try it.", "What nobody ever wrote; try it."),
    ],
)
def test_what_is_filled_in_stays_and_is_translated_where_it_is_a_sentence_too(
    german: gettext.GNUTranslations, said: str, german_words: str
) -> None:
    assert in_words(said, german.gettext) == german_words
    assert in_words(said, str) == said


def test_what_the_library_and_the_client_really_say_is_said_in_german(
    german: gettext.GNUTranslations, tmp_path: Path
) -> None:
    (tmp_path / "stylegan2").mkdir()
    (tmp_path / "stylegan2" / "generator.pt").touch()
    with pytest.raises(BadRequest) as refused:
        Fields({"seed": 12_345_678_901}).whole("seed", 0, 0, 2**31 - 1)
    (missing,) = missing_priors(tmp_path).values()
    with pytest.raises(WorkerProblem) as failed:
        start(Place("test", ["/no/such/python"], str(tmp_path / "run"), {}))
    english = (missing, failed.value.sentence, why_skipped(12.0), str(refused.value))
    said = [in_words(words, german.gettext) for words in english]
    assert said[0].startswith("Der Datei generator.pt in ") and str(tmp_path) in said[0]
    assert said[1].startswith("Das Arbeitsprogramm /no/such/python kann nicht gestartet werden (")
    assert said[1].endswith("; führen Sie im Ordner von Protect Face „python3 install.py --gimp“ aus, das behebt es.")
    assert said[2] == "die Augen sind 12 px voneinander entfernt, und mindestens 40 px sind nötig"
    assert said[3] == "seed 12345678901 hat keine Bedeutung; der Wert geht von 0 bis 2147483647."


def test_bytes_of_python_2_are_looked_up_as_the_text_that_they_spell(
    monkeypatch: pytest.MonkeyPatch, gimpfu: ModuleType
) -> None:
    import gimp2_texts

    monkeypatch.setattr(texts_of_plugins, "_", {"…or one of these": "…oder einer davon"}.get)
    assert gimp2_texts._("…or one of these".encode()) == "…oder einer davon"
