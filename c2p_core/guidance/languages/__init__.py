"""Makeup prompts in other languages than English: what their words stand for, one table for each language.

Translated word by word: prompts are lists of colours and products rather than sentences. English words stay as they
are, so that both may be mixed; so do unknown words, which are then reported as the user typed them.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from c2p_core.guidance.tables import TABLES
from c2p_core.guidance.vocabulary import list_known_words

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TYPED = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"))


@dataclass(frozen=True)
class Language:
    """The words of one language.

    Attributes:
        words: English by words or phrases, as tuples of words.
        adjectives: English by adjectives without their endings.
        endings: of adjectives.
    """

    words: dict[tuple[str, ...], str]
    adjectives: dict[str, str]
    endings: tuple[str, ...]

    def find(self, words: list[str]) -> tuple[int, str] | None:
        """How many of the first words stand for what in English; None when the first one is unknown."""
        for count in range(min(len(words), self._longest()), 0, -1):
            english = self.words.get(tuple(words[:count]))
            if english is not None:
                return count, english
        for ending in ("", *self.endings):
            stem = words[0].removesuffix(ending)
            if (ending == "" or stem != words[0]) and stem in self.adjectives:
                return 1, self.adjectives[stem]
        return None

    def _longest(self) -> int:
        return max(map(len, self.words))


def to_english(prompt: str) -> str:
    """The prompt with the words of other languages in English; as it was where it has none."""
    words = _split(prompt)
    translated: list[str] = []
    changed = False
    while words:
        first = words[0]
        english = first in list_known_words() or first in TABLES.stop_words
        match = next((match for language in _languages() if (match := language.find(words))), None)
        # A word of both languages is English, unless a longer phrase begins with it.
        if match is None or (english and match[0] == 1):
            translated.append(words.pop(0))
            continue
        count, translation = match
        del words[:count]
        translated.append(translation)
        changed = True
    return re.sub(r" (?=[,;.])", "", " ".join(filter(None, translated))) if changed else prompt


@cache
def _languages() -> tuple[Language, ...]:
    """Every language that has a table here."""
    tables = sorted(file.name for file in files(__name__).iterdir() if file.name.endswith(".toml"))
    return tuple(map(_read, tables))


def _read(name: str) -> Language:
    table = tomllib.loads(files(__name__).joinpath(name).read_text(encoding="utf-8"))
    words = {tuple(typed.split()): english for text, english in table["words"].items() for typed in _spellings(text)}
    adjectives = {typed: english for text, english in table["adjectives"].items() for typed in _spellings(text)}
    return Language(words, adjectives, tuple(table["endings"]))


def _spellings(text: str) -> Iterator[str]:
    """A word, and its spelling on a keyboard without the letters of its language."""
    yield text
    plain = text
    for letter, typed in _TYPED:
        plain = plain.replace(letter, typed)
    if plain != text:
        yield plain


def _split(prompt: str) -> list[str]:
    """Lower-case words and, as words of their own, the signs that separate descriptions; hyphens split words."""
    return re.findall(r"[,;.]|[^\s,;.-]+", unicodedata.normalize("NFC", prompt.lower()))
