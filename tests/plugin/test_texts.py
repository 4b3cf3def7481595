"""The texts of both plug-ins and their client: each has a German translation, and no translation is obsolete."""

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
from worker_client import Picture, WorkerProblem, results, settings
from worker_client import texts as texts_of_plugins
from worker_client.location import WorkerLocation
from worker_client.messages import ENGLISH, Message
from worker_client.start import start

from c2p_core import prior_registry
from c2p_core.errors import BadRequest, UnreadableImage
from c2p_core.faces.layers import FOUNDATION, SKIN
from c2p_core.faces.size import explain_too_small
from c2p_core.guidance.languages import to_english
from c2p_core.guidance.vocabulary import PRESETS, choose_makeup, read_prompt
from c2p_core.io import photo_files, png_file
from c2p_core.prior_registry import REGISTRY
from c2p_core.priors.checkpoint_files import missing_priors
from c2p_core.products.catalogue import CATALOGUE
from c2p_core.worker.job_header import JobHeader
from hatch_build import compile_priors, compile_translations

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"
SHARED = PLUGIN / "worker_client"
FILES = [
    file for name in ("worker_client", "protect-face", "protect-face-gimp2") for file in (PLUGIN / name).glob("*.py")
]
GERMAN_FILE = "locale/de/LC_MESSAGES/protect-face.mo"

Text = tuple[str, ...]


def parse_files() -> Iterator[ast.Module]:
    for path in FILES:
        yield ast.parse(path.read_text(encoding="utf-8"))


def collect_texts() -> set[Text]:
    """Every text that is handed to gettext: alone, or with its plural; those of the library's that it shows, too."""
    texts: set[Text] = {(name,) for name in (SKIN, FOUNDATION, *(product.title for product in CATALOGUE.values()))}
    texts |= {(entry.label,) for entry in REGISTRY.values()}
    for tree in parse_files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                count = {"_": 1, "N_": 1, "ngettext": 2}.get(node.func.id, 0)
                arguments = [word.value for word in node.args[:count] if isinstance(word, ast.Constant)]
                if arguments:
                    texts.add(tuple(arguments))
    return texts


def list_fields(text: str) -> list[str]:
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name is not None)


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    return gettext.GNUTranslations(io.BytesIO(compile_translations(SHARED)[GERMAN_FILE]))


def list_translated(german: gettext.GNUTranslations) -> set[str]:
    keys = german._catalog  # type: ignore[attr-defined]
    return {key if isinstance(key, str) else key[0] for key in keys} - {""}


def test_every_text_is_translated_with_the_same_fields(german: gettext.GNUTranslations) -> None:
    assert len(collect_texts()) > 100
    for text in collect_texts():
        translations = [german.gettext(text[0])] if len(text) == 1 else [german.ngettext(*text, n) for n in (1, 2)]
        for original, translated in zip(text, translations, strict=True):
            # Some words are the same in both languages, so that only the catalogue can tell.
            assert text[0] in list_translated(german), f"not translated: {text[0]!r}"
            assert list_fields(original) == list_fields(translated), original
            assert translated.startswith("<Image>/") == original.startswith("<Image>/")


def test_german_presets_mean_what_the_english_ones_mean(german: gettext.GNUTranslations) -> None:
    for preset in PRESETS:
        translated = to_english(german.gettext(preset))
        assert read_prompt(translated).unknown == () and read_prompt(translated).known
        assert choose_makeup(translated, random.Random(1)) == choose_makeup(preset, random.Random(1))


def test_no_translation_is_left_of_a_removed_text(german: gettext.GNUTranslations) -> None:
    assert list_translated(german) - {text[0] for text in collect_texts()} == set()


def test_every_message_of_the_catalogue_is_translated(german: gettext.GNUTranslations) -> None:
    assert set(ENGLISH.values()) - list_translated(german) == set()


def test_real_messages_of_library_and_client_are_translated_into_german(
    german: gettext.GNUTranslations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    (tmp_path / "stylegan2").mkdir()
    (tmp_path / "stylegan2" / "generator.pt").touch()
    with pytest.raises(BadRequest) as refused:
        JobHeader({"seed": 12_345_678_901}).read_integer("seed", 0, 0, 2**31 - 1)
    (missing,) = missing_priors(tmp_path).values()
    with pytest.raises(WorkerProblem) as failed:
        start(WorkerLocation("test", ["/no/such/python"], str(tmp_path / "run"), {}))
    skipped = explain_too_small(12.0)
    assert skipped is not None
    messages = (missing, failed.value.message, skipped, refused.value.message)
    # As they travel: through JSON.
    received = [
        json.loads(json.dumps(message if isinstance(message, dict) else message.described())) for message in messages
    ]
    sentences = [texts_of_plugins.to_sentence(message) for message in received]
    assert sentences[0].startswith("Der Datei generator.pt in ") and str(tmp_path) in sentences[0]
    assert sentences[1].startswith("Das Arbeitsprogramm /no/such/python kann nicht gestartet werden (")
    assert sentences[1].endswith(
        "; führen Sie im Ordner von Protect Face „python3 install.py --gimp“ aus, das behebt es."
    )
    assert sentences[2] == "die Augen sind 12 px voneinander entfernt, und mindestens 40 px sind nötig"
    assert sentences[3] == "seed 12345678901 hat keine Bedeutung; der Wert geht von 0 bis 2147483647."


def test_a_message_inside_a_message_is_translated_too(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    why = Message("model-unreadable", path="/m", reason="why")
    assert texts_of_plugins.to_sentence(Message("recogniser-left-out", name="sface", why=why).described()) == (
        "Ohne den Erkenner sface: Die Modelldatei /m kann nicht gelesen werden (why); prüfen Sie ihre Zugriffsrechte."
    )


def test_why_a_picture_is_damaged_is_translated_too(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    path = tmp_path / "a.png"
    path.write_bytes(png_file.SIGNATURE + bytes(3))
    with pytest.raises(UnreadableImage) as refused:
        photo_files.read(path)
    assert "(abgeschnitten)" in texts_of_plugins.to_sentence(refused.value.message)


def test_labels_of_priors_are_translated_into_german(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "_", german.gettext)
    ((name, body),) = compile_priors(Path(prior_registry.__file__)).items()
    (tmp_path / name).write_bytes(body)
    assert settings.read_priors(str(tmp_path / name)) == (
        ("makeup", "Make-up, Licht und Form"),
        ("stylegan2", "Ein Generator von Gesichtern (StyleGAN2)"),
    )


def test_a_layer_has_the_german_name_of_its_product_and_a_new_product_its_english_one(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_", german.gettext)
    layers = [Picture("product", 0, 0, 1, 1, 4, "u8", about={"product": name}) for name in ("Lipstick", "Cheek tint")]
    assert list(map(results.translate_product, layers)) == ["Lippenstift", "Cheek tint"]


def test_the_products_that_a_message_lists_are_named_in_german(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    message = Message("products-covered", number=2, products=["Lipstick", "Cheek tint"])
    assert texts_of_plugins.to_sentence(message.described()) == (
        "Gesicht 2 ist dort verdeckt, wo dies gemalt würde, daher entfällt es: Lippenstift, Cheek tint."
    )


def test_an_unknown_code_of_a_later_worker_is_shown_in_english(
    german: gettext.GNUTranslations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_of_plugins, "_", german.gettext)
    later = {"code": "of-a-later-version", "fields": {}, "text": "What nobody ever wrote; try it."}
    assert texts_of_plugins.to_sentence(later) == "What nobody ever wrote; try it."


def test_the_device_of_the_worker_is_its_card_or_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts_of_plugins.describe_device({"device_name": "RTX", "cores": 8}) == "RTX"
    assert "8" in texts_of_plugins.describe_device({"device_name": None, "cores": 8})


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (Message("profile-embedded"), ENGLISH["profile-embedded"]),
        (Message("profile-auto-without-gpu"), ENGLISH["profile-auto-without-gpu"]),
        (Message("profile-auto-full", device="a card"), ENGLISH["profile-auto-full"].format(device="a card")),
    ],
)
def test_the_line_on_the_profile_gives_the_workers_reason(why: Message, words: str) -> None:
    hello = {"profile": {"name": "full", "why": why.described()}}
    assert texts_of_plugins.describe_profile(hello) == words


def test_an_older_worker_has_no_line_on_the_profile() -> None:
    assert texts_of_plugins.describe_profile({"device": "cpu"}) == ""


def test_byte_strings_of_python_2_are_translated_as_text(monkeypatch: pytest.MonkeyPatch, gimpfu: ModuleType) -> None:
    import gimp2_texts

    monkeypatch.setattr(texts_of_plugins, "_", {"…or one of these": "…oder einer davon"}.get)
    assert gimp2_texts._("…or one of these".encode()) == "…oder einer davon"
