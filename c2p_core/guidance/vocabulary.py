"""Parses makeup prompts: known and unknown words, the look they describe, and the products to paint.

Pure text, no torch. ``parse`` interprets a prompt like the training captions (``bundle/train/captions.py``), and thus
like the embedded CLIP. ``choose_makeup`` decides what is painted on a photo: only what the prompt names.
"""

from __future__ import annotations

import difflib
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from c2p_core.guidance.tables import TABLES, Ingredient
from c2p_core.products.catalogue import Rgb


@dataclass(frozen=True)
class Touch:
    """One product on the face.

    Attributes:
        product: a key of ``TABLES.products``, which are the products of the makeup renderer.
        colour: a key of ``PIGMENTS``, None for the product's usual one.
        intensity: 0..1; determines the opacity.
        spread: 0..1; how far it extends.
    """

    product: str
    colour: str | None = None
    intensity: float = 0.6
    spread: float = 0.5


Look = tuple[Touch, ...]


@dataclass(frozen=True)
class PromptReading:
    """The known and unknown words of a prompt.

    Attributes:
        known: words of the vocabulary, in the prompt's order.
        unknown: every other word except stop words, each with up to three known words of similar spelling.
    """

    known: tuple[str, ...]
    unknown: tuple[tuple[str, tuple[str, ...]], ...]


PRESETS = TABLES.presets
TEMPLATES = TABLES.templates
NO_MAKEUP = "no makeup"
_SMOKY_EYES = "smoky eyes"

COLOURS: dict[str, Rgb] = {name: colour.rgb for name, colour in TABLES.colours.items()}


def _mix_with_soot(colour: Rgb) -> Rgb:
    share = TABLES.smoky_share
    red, green, blue = (share * channel + (1 - share) * soot for channel, soot in zip(colour, TABLES.soot, strict=True))
    return (red, green, blue)


# All pigments: the colours that prompts can name, smoke colours, and each colour darkened by smoke.
PIGMENTS: dict[str, Rgb] = {
    **COLOURS,
    **TABLES.smoke,
    **{f"smoky {name}": _mix_with_soot(rgb) for name, rgb in COLOURS.items()},
}


def split_words(text: str) -> list[str]:
    """Lower-case words of any script, hyphenated ones split."""
    text = unicodedata.normalize("NFC", text.lower())
    # Many scripts write vowels as combining marks, which ``re`` doesn't treat as letters. A mark without a letter
    # before it is not a word.
    text = "".join(character if unicodedata.category(character)[0] in "LM" else " " for character in text)
    return re.findall(r"\w\S*", text)


@cache
def list_known_words() -> frozenset[str]:
    """Every word that has a meaning in prompts or occurs in captions."""
    texts: list[str] = [*TABLES.negations, "makeup", "make", "up"]
    for name, colour in TABLES.colours.items():
        texts += [name, *colour.synonyms]
    for product in TABLES.products.values():
        texts += product.words
    for strength in TABLES.strengths.values():
        texts += strength.words
    for finish in TABLES.finishes.values():
        texts += finish.words
    for name, look in TABLES.looks.items():
        texts += [name, *look.synonyms]
    return frozenset(word for text in texts for word in split_words(text))


def read_prompt(prompt: str) -> PromptReading:
    """Sort a prompt's words into known and unknown ones; stop words are left out."""
    known, unknown = [], []
    for word in split_words(prompt):
        if word in list_known_words():
            known.append(word)
        elif word not in TABLES.stop_words:
            close = difflib.get_close_matches(word, sorted(list_known_words()), n=3, cutoff=0.6)
            unknown.append((word, tuple(close)))
    return PromptReading(tuple(known), tuple(unknown))


@dataclass(frozen=True)
class _Token:
    """One or more words of a prompt that form a unit.

    Attributes:
        kind: "look", "product", "colour", "strength", "finish", "negation", "in" or "separator".
        value: name of the look, product, colour, ...
        negated: whether a negation applies to it.
    """

    kind: str
    value: str
    negated: bool = False


@cache
def _build_lexicon() -> dict[tuple[str, ...], _Token]:
    """Tokens by sequence of words; if two tables list the same words, the first one added wins."""
    entries: dict[tuple[str, ...], _Token] = {}

    def add(text: str, kind: str, value: str) -> None:
        entries.setdefault(tuple(split_words(text)), _Token(kind, value))

    for name, look in TABLES.looks.items():
        for text in (name, *look.synonyms):
            add(text, "look", name)
            short = [word for word in split_words(text) if word not in ("makeup", "look")]
            if len(short) == 1 and short[0] not in TABLES.ambiguous:
                add(short[0], "look", name)
    for name, product in TABLES.products.items():
        for text in product.words:
            add(text, "product", name)
    for name, colour in TABLES.colours.items():
        for text in (name, *colour.synonyms):
            add(text, "colour", name)
    for name, strength in TABLES.strengths.items():
        for text in strength.words:
            add(text, "strength", name)
    for name, finish in TABLES.finishes.items():
        for text in finish.words:
            add(text, "finish", name)
    add("much", "strength", "strong")  # "not too much blush"
    for word in TABLES.negations:
        add(word, "negation", word)
    add("in", "in", "in")
    for word in TABLES.separators:
        add(word, "separator", word)
    return entries


def _tokenize(prompt: str) -> list[_Token]:
    """Split a prompt into tokens, longest match first; negations are resolved into ``_Token.negated``."""
    words, tokens, position = split_words(re.sub("[,;.]", f" {TABLES.separators[0]} ", prompt)), [], 0
    longest = max(len(key) for key in _build_lexicon())
    while position < len(words):
        for count in range(min(longest, len(words) - position), 0, -1):
            token = _build_lexicon().get(tuple(words[position : position + count]))
            if token is not None:
                tokens.append(token)
                position += count
                break
        else:
            position += 1
    return _resolve_negations(tokens)


def _resolve_negations(tokens: Sequence[_Token]) -> list[_Token]:
    """Drop negations and mark what they apply to.

    "not" negates the next word alone, "not too bold"; "no" and "without" everything up to the product, "no bold
    lipstick".
    """
    resolved: list[_Token] = []
    negation, previous = "", ""
    for token in tokens:
        if token.kind == "negation":
            negation = token.value
        elif token.kind in ("in", "separator"):
            resolved.append(token)
            if token.kind == "separator" and previous == "negation":  # it negated an unknown word
                negation = ""
        else:
            resolved.append(replace(token, negated=bool(negation)))
            if negation == "not" or token.kind in ("look", "product"):
                negation = ""
        previous = token.kind
    return resolved


def parse(prompt: str, rng: random.Random) -> Look | None:
    """Parse the look that a prompt describes, as in captions.

    Args:
        prompt: makeup style in words.
        rng: draws what the prompt leaves open, such as a named look's colours.

    Returns:
        None when the prompt names neither a product nor a look; an empty look for "no makeup", or when the prompt only
        excludes products.
    """
    return _interpret(_tokenize(prompt), rng, draw_named_look)


def choose_makeup(prompt: str, rng: random.Random) -> Look:
    """Choose the makeup to paint for a prompt; ``rng`` draws what the prompt leaves open.

    Only products that the prompt names or that belong to a look that it names; for a natural look only products named
    as well. "Smoky" is grey to brown, or the named colour darkened.
    """
    tokens = _tokenize(prompt)
    wanted = [token for token in tokens if not token.negated]
    smoky = any(token.value in ("smoky", _SMOKY_EYES) for token in wanted)
    if not any(token.kind in ("look", "product") for token in tokens):
        tokens = [token for token in tokens if token.value != "smoky"]
        tokens += [_Token("look", _SMOKY_EYES)] if smoky else _infer_product(prompt, wanted, rng)
        wanted = [token for token in tokens if not token.negated]
    makeup = _interpret(tokens, rng, _draw_painted_look) or ()
    named = {token.value for token in wanted if token.kind == "product"}
    for token in wanted:
        if token.kind == "look" and not TABLES.looks[token.value].only_named:
            named |= {ingredient.product for ingredient in TABLES.looks[token.value].painted}
    return tuple(_darken_with_smoke(touch) if smoky else touch for touch in makeup if touch.product in named)


def _infer_product(prompt: str, wanted: Sequence[_Token], rng: random.Random) -> list[_Token]:
    """Infer a product for a colour named without one: "blue makeup", but not "nude makeup".

    Empty when the prompt has unknown words: the colour may be that of hair or of a shirt.
    """
    colours = [token.value for token in wanted if token.kind == "colour" and token.value != "nude"]
    if not colours or read_prompt(prompt).unknown:
        return []
    products = [product for product in ("lips", "eyeshadow") if colours[-1] in TABLES.products[product].colours]
    return [_Token("product", rng.choice(products))]


def _darken_with_smoke(touch: Touch) -> Touch:
    if touch.product != "eyeshadow" or touch.colour is None or touch.colour in TABLES.smoke:
        return touch
    return replace(touch, colour=f"smoky {touch.colour}")


def _interpret(tokens: Sequence[_Token], rng: random.Random, draw: Callable[[str, random.Random], Look]) -> Look | None:
    """``parse`` for tokens; ``draw`` draws the products of a named look."""
    if not any(token.kind in ("look", "product") for token in tokens):
        return None
    touches: dict[str, Touch] = {}
    for token in tokens:
        if token.kind == "look" and not token.negated:
            touches.update({touch.product: touch for touch in draw(token.value, rng)})
    # Modifiers precede their product, "red lipstick", or follow it, "lipstick in red, not too bold".
    modifiers: dict[str, str] = {}
    last: str | None = None
    modifies_last = False

    def apply_to_last() -> None:
        if last is not None and modifiers:
            touches[last] = _modify(last, modifiers, touches.get(last), rng)
            modifiers.clear()

    for token in tokens:
        if token.kind == "product":
            last = None if token.negated else token.value
            if last is None:
                touches.pop(token.value, None)
            else:
                touches[last] = _modify(last, modifiers, touches.get(last), rng)
            modifiers.clear()
            modifies_last = False
        elif token.kind == "look":
            last = "eyeshadow" if token.value == _SMOKY_EYES and not token.negated else None
            apply_to_last()
            modifiers.clear()
            modifies_last = False
        elif token.kind == "in":
            modifies_last = True
        elif token.kind == "separator":
            if modifies_last:
                apply_to_last()
            modifies_last = False
        elif token.negated:
            modifies_last = True
            modifiers.update(_convert_negated(token))
        else:
            modifiers[token.kind] = token.value
    apply_to_last()
    return tuple(touches.values())


def _convert_negated(token: _Token) -> dict[str, str]:
    """Turn a negated word into a modifier: "not bold" is plain, "not red" another colour; a negated finish has none."""
    if token.kind == "strength":
        return {"strength": "plain"}
    return {"other than": token.value} if token.kind == "colour" else {}


def _modify(product: str, modifiers: dict[str, str], touch: Touch | None, rng: random.Random) -> Touch:
    """Apply modifiers to a product's touch, or to its usual one when there is no ``touch`` yet."""
    touch = touch or Touch(product, TABLES.products[product].usual_colour)
    if "strength" in modifiers:
        intensity = TABLES.strengths[modifiers["strength"]].intensity
        touch = replace(touch, intensity=intensity, spread=usual_spread(intensity))
    if "colour" in modifiers:
        touch = replace(touch, colour=modifiers["colour"])
    elif touch.colour is not None and touch.colour == modifiers.get("other than"):
        others = [colour for colour in TABLES.products[product].colours if colour != touch.colour]
        touch = replace(touch, colour=rng.choice(others) if others else None)
    if "finish" in modifiers:
        finish = TABLES.finishes[modifiers["finish"]]
        touch = replace(
            touch,
            intensity=min(0.97, touch.intensity * finish.intensity),
            spread=min(1.0, touch.spread * finish.spread),
        )
    return touch


def usual_spread(intensity: float) -> float:
    """The spread of a product of this intensity: stronger makeup reaches further."""
    return 0.25 + 0.5 * intensity


def draw_named_look(name: str, rng: random.Random) -> Look:
    """Draw a random instance of a named look, as in captions."""
    return _draw(TABLES.looks[name].products, rng)


def _draw_painted_look(name: str, rng: random.Random) -> Look:
    return _draw(TABLES.looks[name].painted, rng)


def _draw(ingredients: Sequence[Ingredient], rng: random.Random) -> Look:
    touches = []
    for ingredient in ingredients:
        if rng.random() < ingredient.chance:
            colour = rng.choice(ingredient.colours) if ingredient.colours else None
            touches.append(Touch(ingredient.product, colour, ingredient.intensity, ingredient.spread))
    return tuple(touches)
