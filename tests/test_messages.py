"""The catalogue of messages against the source: every code that is said is in it, with the fields that are given."""

from __future__ import annotations

import ast
import pickle
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_client.messages import ENGLISH, Message, render, render_message

from c2p_core import errors
from c2p_core.errors import BadRequest, C2PError, ModelUnavailable

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "c2p_core").rglob("*.py"), *(ROOT / "plugin").rglob("*.py")])
# What takes a code and its fields, with the fields that it adds itself.
SPEAKERS: dict[str, set[str]] = {
    **{kind.__name__: set() for kind in vars(errors).values() if isinstance(kind, type)},
    **{name: set() for name in ("NoWorker", "Refused", "WorkerProblem", "NothingVisible", "_Refused")},
    **{name: set() for name in ("ProtocolError", "OtherVersion", "UnsafePickle")},
    "report_crash": {"error", "log"},
    "Unusable": {"path"},
}


def sayings() -> Iterator[tuple[str, str, set[str]]]:
    """Where a code is said, the code, and the names of its fields."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in SPEAKERS and node.args and isinstance(node.args[0], ast.Constant):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                named = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield place, str(node.args[0].value), named | SPEAKERS[name]


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_used_code_is_in_the_catalogue_with_exactly_its_fields() -> None:
    found = list(sayings())
    assert len(found) > 100
    wrong = [(place, code) for place, code, fields in found if code not in ENGLISH or gaps(ENGLISH[code]) != fields]
    assert wrong == []


def test_every_text_of_the_catalogue_is_said_somewhere() -> None:
    assert set(ENGLISH) - {code for _, code, _ in sayings()} == set()


def test_a_code_is_words_with_hyphens_and_a_text_one_line() -> None:
    assert all(code and set(code) <= {*string.ascii_lowercase, *string.digits, "-"} for code in ENGLISH)
    assert [text for text in ENGLISH.values() if "\n" in text or "  " in text or text != text.strip()] == []


def test_an_error_has_a_code_fields_and_an_english_sentence() -> None:
    error = BadRequest("strength-out-of-range", value=7.0, low=0, high=1)
    assert (error.code, error.fields) == ("strength-out-of-range", {"value": 7.0, "low": 0, "high": 1})
    assert str(error) == "Strength 7 is out of range; choose one from 0 to 1."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.Malformed("file-cut-short"), Message("file-cut-short")),
        (KeyError("files"), Message("key-missing", key="files")),
        (OSError("No space left.\nMore."), "No space left"),
    ],
)
def test_a_reason_is_our_own_message_or_the_first_line_that_a_library_gives(
    error: Exception, reason: Message | str
) -> None:
    assert errors.get_reason(error) == reason


@pytest.mark.parametrize("kind", [C2PError, *C2PError.__subclasses__()])
def test_an_error_comes_whole_out_of_another_process(kind: type[C2PError]) -> None:
    error = pickle.loads(pickle.dumps(kind("prompt-too-long", limit=300)))
    assert type(error) is kind and error.message == Message("prompt-too-long", limit=300)


def test_a_message_in_a_field_and_a_list_are_put_into_words_too() -> None:
    error = ModelUnavailable(
        "model-fetch-failed",
        name="x",
        why=[Message("download-failed", url=url, why=Message("download-timeout")) for url in ("a", "b")],
    )
    assert "(a: no answer in time; b: no answer in time)" in str(error)
    assert str(BadRequest("model-unknown", name="x", known=["a", "b"])).endswith("the models are a, b.")


def test_every_part_of_a_message_is_translated() -> None:
    message = Message("not-every-face", why=Message("face-gone"))
    assert message.text(lambda text: f"<{text}>") == f"<Not every face was protected: <{ENGLISH['face-gone']}>>"


def test_a_message_travels_as_json_and_is_translated_on_the_other_side() -> None:
    message = Message("not-every-face", why=Message("face-gone"))
    assert message.described() == {
        "code": "not-every-face",
        "fields": {"why": {"code": "face-gone", "fields": {}, "text": ENGLISH["face-gone"]}},
        "text": f"Not every face was protected: {ENGLISH['face-gone']}",
    }
    translation = {ENGLISH["face-gone"]: "Weg."}
    assert (
        render_message(message.described(), lambda text: translation.get(text, text))
        == "Not every face was protected: Weg."
    )


@pytest.mark.parametrize(
    "sent",
    [
        {"code": "of-a-later-version", "fields": {}, "text": "As it says."},
        {"code": "prompt-too-long", "fields": {}, "text": "As it says."},
        {"code": "strength-out-of-range", "fields": {"value": "x", "low": 0, "high": 1}, "text": "As it says."},
        {"code": ["no text"], "fields": {}, "text": "As it says."},
        {"text": "As it says."},
    ],
)
def test_a_message_unknown_to_this_catalogue_is_shown_in_the_senders_english(sent: dict[str, object]) -> None:
    assert render_message(sent) == "As it says."


def test_an_unknown_code_is_an_error_where_it_is_made() -> None:
    with pytest.raises(KeyError):
        render("no-such-code", {})
