"""The words that describe makeup: what they mean, how they combine, and which of a prompt's words are known.

Pure text, no torch. ``parse`` reads a prompt into touches (product, colour, intensity), as the captions mean them that
``sample_look`` draws for training and checking the embedded CLIP. ``asked`` is what is painted on somebody who gives
that prompt: no more than it names.
"""

from __future__ import annotations

import difflib
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Touch:
    """One product on the face.

    Attributes:
        product: an entry of ``c2p_core.priors.products.PRODUCTS``.
        colour: a key of ``PIGMENTS``, None for the product's usual one.
        intensity: 0..1; decides the opacity.
        spread: 0..1; how far it reaches.
    """

    product: str
    colour: str | None = None
    intensity: float = 0.6
    spread: float = 0.5


Look = tuple[Touch, ...]


@dataclass(frozen=True)
class PromptReading:
    """Which words of a prompt mean something.

    Attributes:
        known: words of the vocabulary, in order.
        unknown: each other word (stop words left out) with up to three known words that look like it.
    """

    known: tuple[str, ...]
    unknown: tuple[tuple[str, tuple[str, ...]], ...]


# Prompts for people who want to choose one; every word is known.
PRESETS = (
    "natural makeup",
    "red lipstick and smoky eyes",
    "nude lipstick and soft contour",
    "pink lipstick and rosy blush",
    "bold red lipstick and black winged eyeliner",
    "bronze eyeshadow and peach lipstick",
    "heavy makeup",
)


def _rgb(code: str) -> Rgb:
    return (int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255)


# Name: (sRGB of the pigment, other words for it).
_COLOURS: dict[str, tuple[str, tuple[str, ...]]] = {
    "red": ("b80f1e", ("scarlet", "ruby", "cherry")),
    "dark red": ("5e0a18", ("burgundy", "wine", "oxblood", "maroon")),
    "pink": ("e0708c", ("rose", "rosy")),
    "hot pink": ("dc1480", ("fuchsia", "magenta")),
    "coral": ("f0604a", ("salmon",)),
    "peach": ("f59a78", ("apricot",)),
    "orange": ("f07814", ("tangerine",)),
    "nude": ("c08a74", ("beige",)),
    "brown": ("5e3420", ("chocolate", "chestnut")),
    "mauve": ("a8687c", ("dusty pink",)),
    "plum": ("5c1844", ("aubergine", "berry")),
    "purple": ("7020a0", ("violet", "amethyst")),
    "lavender": ("b496dc", ("lilac",)),
    "blue": ("1c50c8", ("cobalt", "sapphire")),
    "navy": ("101c50", ("midnight blue", "dark blue")),
    "light blue": ("82b4f0", ("sky blue", "baby blue")),
    "turquoise": ("0aa0a0", ("teal", "aqua")),
    "green": ("148c46", ("emerald",)),
    "olive": ("646428", ("khaki",)),
    "yellow": ("f0d228", ("lemon",)),
    "gold": ("d2a03c", ("golden",)),
    "bronze": ("985a34", ("copper",)),
    "grey": ("5c5c62", ("gray", "charcoal")),
    "silver": ("bec3cd", ("metallic",)),
    "white": ("f5f2ee", ("ivory",)),
    "black": ("0c0a0c", ("jet black", "ebony")),
}
COLOURS: dict[str, Rgb] = {name: _rgb(code) for name, (code, _) in _COLOURS.items()}

# What smoke is where no colour is named, from charcoal to brown: warm, because on skin a neutral grey looks blue. No
# caption says these names.
_SMOKE = {"smoke": "4a382b", "dark smoke": "32251c", "brown smoke": "563c2b"}
# A colour that is named with it is this share of itself; the rest is soot.
_SMOKED, _SOOT = 0.6, _rgb("241a14")


def _smoked(colour: Rgb) -> Rgb:
    red, green, blue = (_SMOKED * own + (1 - _SMOKED) * soot for own, soot in zip(colour, _SOOT, strict=True))
    return (red, green, blue)


# Everything that is painted: the colours that captions name, and smoke.
PIGMENTS: dict[str, Rgb] = {
    **COLOURS,
    **{name: _rgb(code) for name, code in _SMOKE.items()},
    **{f"smoky {name}": _smoked(colour) for name, colour in COLOURS.items()},
}

_PRODUCT_WORDS: dict[str, tuple[str, ...]] = {
    "lips": ("lipstick", "lips", "lip colour", "lip color", "lip tint", "lip gloss"),
    "lip_liner": ("lip liner", "lip pencil", "lined lips"),
    "eyeshadow": ("eyeshadow", "eye shadow", "eyelids", "shadow", "eyes"),
    "eyeliner": ("eyeliner", "winged liner", "cat eye", "winged eyeliner", "eye liner", "kohl"),
    "lashes": ("mascara", "lashes", "eyelashes", "false lashes"),
    "brow": ("brows", "eyebrows", "filled brows", "defined brows"),
    "blush": ("blush", "blusher", "rouge", "cheeks", "flushed cheeks"),
    "contour": ("contour", "contouring", "bronzer", "sculpted cheekbones"),
    "highlight": ("highlighter", "highlight", "glow", "glowing skin", "dewy skin"),
}
# Colours that a product may be named with; an empty tuple: it is named without one.
_FREE = tuple(COLOURS)
_PRODUCT_COLOURS: dict[str, tuple[str, ...]] = {
    "lips": tuple(name for name in _FREE if name not in ("olive", "navy", "light blue", "yellow", "grey")),
    "lip_liner": ("red", "dark red", "pink", "brown", "plum", "black", "mauve"),
    "eyeshadow": _FREE,
    "eyeliner": ("black", "brown", "blue", "white", "green", "purple", "gold", "red", "turquoise"),
    "lashes": (),
    "brow": ("black", "brown"),
    "blush": ("pink", "peach", "coral", "plum"),
    "contour": (),
    "highlight": (),
}
_USUAL_COLOURS = {"lips": "red", "lip_liner": "dark red", "eyeshadow": "brown", "eyeliner": "black", "blush": "pink"}
_INTENSITIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "light": (0.34, ("sheer", "subtle", "soft", "light", "faint", "delicate")),
    "plain": (0.62, ()),
    "strong": (0.92, ("bold", "strong", "heavy", "intense", "dramatic", "vivid", "deep")),
}
_FINISHES: dict[str, tuple[str, ...]] = {
    "lips": ("matte", "glossy", "satin", "creamy"),
    "eyeshadow": ("shimmery", "matte", "smudged", "metallic"),
}
# Multiples of the intensity and of the spread.
_FINISH_MEANING: dict[str, tuple[float, float]] = {
    "matte": (1.15, 1.0),
    "glossy": (0.8, 1.1),
    "satin": (0.95, 1.0),
    "creamy": (0.95, 1.05),
    "shimmery": (0.85, 1.1),
    "smudged": (1.0, 1.3),
    "metallic": (1.0, 1.0),
    "smoky": (1.35, 1.35),
}
_SMOKY = ("smoky", "smokey")

_Option = tuple[str, tuple[str, ...], float, float, float]


def _recoloured(options: Sequence[_Option], **colours: tuple[str, ...]) -> tuple[_Option, ...]:
    """A look with some products in other colours."""
    return tuple((option[0], colours.get(option[0], option[1]), *option[2:]) for option in options)


# A named look: other names, and its products as (product, colours to draw from, intensity, spread, chance).
_LOOKS: dict[str, tuple[tuple[str, ...], tuple[_Option, ...]]] = {
    "no makeup": (("bare face", "without makeup", "clean face", "makeup-free", "no cosmetics", "bare skin"), ()),
    "natural makeup": (
        ("everyday makeup", "light makeup", "subtle makeup", "fresh makeup", "minimal makeup", "natural look"),
        (
            ("lips", ("nude", "pink", "mauve", "peach"), 0.35, 0.5, 1.0),
            ("blush", ("peach", "pink"), 0.35, 0.5, 1.0),
            ("lashes", (), 0.45, 0.3, 0.8),
            ("brow", ("brown",), 0.3, 0.4, 0.5),
            ("highlight", (), 0.4, 0.4, 0.5),
        ),
    ),
    "gothic makeup": (
        ("goth makeup", "gothic look", "goth", "vampire makeup", "dark makeup"),
        (
            ("lips", ("black", "dark red", "plum"), 0.92, 0.5, 1.0),
            ("lip_liner", ("black",), 0.6, 0.5, 0.6),
            ("eyeshadow", ("black",), 0.88, 0.8, 1.0),
            ("eyeliner", ("black",), 0.9, 0.7, 1.0),
            ("lashes", (), 0.8, 0.6, 0.7),
            ("brow", ("black",), 0.5, 0.5, 0.5),
            ("contour", (), 0.5, 0.5, 0.5),
        ),
    ),
    "bridal makeup": (
        ("wedding makeup", "bride makeup", "bridal look", "wedding look"),
        (
            ("lips", ("pink", "mauve"), 0.6, 0.5, 1.0),
            ("blush", ("pink", "peach"), 0.55, 0.5, 1.0),
            ("highlight", (), 0.75, 0.6, 1.0),
            ("eyeshadow", ("white", "gold", "pink"), 0.5, 0.5, 1.0),
            ("eyeliner", ("brown",), 0.5, 0.2, 0.6),
            ("lashes", (), 0.75, 0.5, 1.0),
        ),
    ),
    "evening makeup": (
        ("night out makeup", "party makeup", "evening look", "night makeup", "party look"),
        (
            ("lips", ("red", "dark red"), 0.8, 0.5, 1.0),
            ("eyeshadow", ("brown", "grey"), 0.7, 0.6, 1.0),
            ("eyeliner", ("black",), 0.8, 0.5, 1.0),
            ("lashes", (), 0.8, 0.5, 1.0),
            ("contour", (), 0.5, 0.5, 0.7),
        ),
    ),
    "glam makeup": (
        ("glamorous makeup", "full glam", "hollywood makeup", "glamour makeup", "glam look", "red carpet makeup"),
        (
            ("lips", ("red", "pink", "nude"), 0.85, 0.6, 1.0),
            ("eyeshadow", ("gold", "bronze"), 0.8, 0.6, 1.0),
            ("eyeliner", ("black",), 0.92, 0.8, 1.0),
            ("lashes", (), 0.92, 0.8, 1.0),
            ("contour", (), 0.8, 0.6, 1.0),
            ("highlight", (), 0.85, 0.6, 1.0),
            ("blush", ("pink", "coral"), 0.6, 0.5, 0.8),
        ),
    ),
    "smoky eyes": (
        ("smokey eyes", "smoky eye", "smokey eye", "smoky eye makeup"),
        (
            ("eyeshadow", ("black", "grey"), 0.85, 0.75, 1.0),
            ("eyeliner", ("black",), 0.6, 0.35, 0.7),
            ("lashes", (), 0.6, 0.4, 0.5),
        ),
    ),
    "vintage makeup": (
        ("retro makeup", "pin-up makeup", "fifties makeup", "pinup look", "retro look"),
        (
            ("lips", ("red",), 0.9, 0.6, 1.0),
            ("eyeliner", ("black",), 0.92, 0.8, 1.0),
            ("lashes", (), 0.8, 0.5, 1.0),
            ("brow", ("brown", "black"), 0.5, 0.4, 0.7),
        ),
    ),
    "sunkissed makeup": (
        ("bronzed makeup", "summer makeup", "beach makeup", "sunkissed look", "tanned look"),
        (
            ("contour", (), 0.8, 0.8, 1.0),
            ("blush", ("coral", "peach"), 0.6, 0.7, 1.0),
            ("highlight", (), 0.8, 0.6, 1.0),
            ("eyeshadow", ("bronze",), 0.5, 0.5, 0.8),
            ("lips", ("nude", "coral"), 0.5, 0.5, 0.8),
        ),
    ),
    "colourful makeup": (
        ("colorful makeup", "festival makeup", "eighties makeup", "disco makeup", "bright makeup", "carnival makeup"),
        (
            ("eyeshadow", ("blue", "purple", "green", "hot pink", "turquoise", "yellow"), 0.92, 0.85, 1.0),
            ("lips", ("hot pink", "orange", "purple"), 0.9, 0.6, 1.0),
            ("blush", ("pink", "coral"), 0.85, 0.7, 1.0),
            ("eyeliner", ("black", "blue"), 0.6, 0.4, 0.5),
        ),
    ),
    "doll makeup": (
        ("cute makeup", "kawaii makeup", "doll look", "baby doll makeup"),
        (
            ("lips", ("pink",), 0.55, 0.4, 1.0),
            ("blush", ("pink",), 0.9, 0.6, 1.0),
            ("lashes", (), 0.9, 0.7, 1.0),
            ("eyeshadow", ("pink",), 0.45, 0.5, 0.7),
        ),
    ),
    "mermaid makeup": (
        ("ocean makeup", "mermaid look", "fairy makeup"),
        (
            ("eyeshadow", ("turquoise", "light blue"), 0.85, 0.75, 1.0),
            ("lips", ("lavender", "pink"), 0.65, 0.5, 1.0),
            ("highlight", (), 0.85, 0.7, 1.0),
            ("eyeliner", ("turquoise", "blue"), 0.5, 0.5, 0.5),
        ),
    ),
    "autumn makeup": (
        ("fall makeup", "autumn look", "warm makeup"),
        (
            ("lips", ("brown", "dark red"), 0.75, 0.5, 1.0),
            ("eyeshadow", ("orange", "bronze", "olive"), 0.75, 0.6, 1.0),
            ("contour", (), 0.5, 0.5, 0.6),
        ),
    ),
    "grunge makeup": (
        ("grunge look", "rock makeup", "punk makeup"),
        (
            ("lips", ("brown", "plum"), 0.75, 0.5, 1.0),
            ("eyeliner", ("black",), 0.9, 0.5, 1.0),
            ("eyeshadow", ("brown",), 0.85, 0.8, 1.0),
        ),
    ),
    "romantic makeup": (
        ("date makeup", "valentine makeup", "romantic look"),
        (
            ("lips", ("pink", "red"), 0.65, 0.5, 1.0),
            ("eyeshadow", ("pink", "mauve"), 0.65, 0.6, 1.0),
            ("blush", ("pink",), 0.65, 0.5, 1.0),
            ("lashes", (), 0.5, 0.5, 0.6),
        ),
    ),
    "office makeup": (
        ("business makeup", "work makeup", "professional makeup"),
        (
            ("lips", ("mauve", "nude"), 0.6, 0.5, 1.0),
            ("eyeshadow", ("brown", "nude"), 0.4, 0.5, 1.0),
            ("brow", ("brown",), 0.5, 0.5, 1.0),
            ("lashes", (), 0.5, 0.3, 0.8),
        ),
    ),
    "stage makeup": (
        ("theatrical makeup", "drag makeup", "heavy makeup", "dramatic makeup"),
        (
            ("lips", ("red", "hot pink", "plum"), 0.95, 0.8, 1.0),
            ("lip_liner", ("dark red", "plum"), 0.8, 0.6, 0.8),
            ("eyeshadow", ("purple", "blue", "black", "brown"), 0.95, 0.9, 1.0),
            ("eyeliner", ("black",), 0.95, 0.9, 1.0),
            ("lashes", (), 0.95, 0.9, 1.0),
            ("brow", ("black", "brown"), 0.8, 0.6, 0.8),
            ("blush", ("pink", "coral", "plum"), 0.9, 0.6, 1.0),
            ("contour", (), 0.9, 0.7, 1.0),
        ),
    ),
}
NO_MAKEUP = "no makeup"
LOOK_NAMES = tuple(_LOOKS)
# What is painted when these looks are asked for, where that is less or other than what captions call so.
_ASKED: dict[str, tuple[_Option, ...]] = {
    # Of these only what the prompt names besides, "natural lipstick": they must suit everybody, also who wears none.
    "natural makeup": (
        ("lips", ("nude", "mauve"), 0.4, 0.5, 1.0),
        ("blush", ("peach", "pink"), 0.35, 0.5, 1.0),
        ("eyeshadow", ("nude", "brown"), 0.35, 0.5, 1.0),
        ("eyeliner", ("brown",), 0.4, 0.2, 1.0),
        ("lashes", (), 0.45, 0.3, 1.0),
        ("brow", ("brown",), 0.3, 0.4, 1.0),
        ("contour", (), 0.4, 0.4, 1.0),
        ("highlight", (), 0.4, 0.4, 1.0),
    ),
    "smoky eyes": (
        ("eyeshadow", tuple(_SMOKE), 0.85, 0.75, 1.0),
        ("eyeliner", ("black",), 0.6, 0.35, 0.7),
        ("lashes", (), 0.6, 0.4, 0.5),
    ),
    # Without a word for a colour nobody's lids are blue, purple or the grey that looks blue on skin.
    "evening makeup": _recoloured(_LOOKS["evening makeup"][1], eyeshadow=("brown", "smoke")),
    "stage makeup": _recoloured(
        _LOOKS["stage makeup"][1], lips=("red", "dark red"), lip_liner=("dark red",), eyeshadow=("brown", "dark smoke")
    ),
}
_ASKED["office makeup"] = _ASKED["natural makeup"]
# Looks that ask for no product at all.
_PLAIN = frozenset((NO_MAKEUP, "natural makeup", "office makeup"))

# How captions wrap a description; the held-out ones are for the check only.
TEMPLATES = (
    "{}",
    "a face with {}",
    "a photo of a person with {}",
    "a person wearing {}",
    "portrait with {}",
    "a woman with {}",
    "a man with {}",
    "photo of someone with {}",
    "{}, portrait photo",
    "make me wear {}",
)
HELD_OUT_TEMPLATES = ("a portrait of someone wearing {}", "a photo of a face with {}", "a person with {} in a photo")
_PHRASES = (
    "{colour} {product}",
    "{strength} {colour} {product}",
    "{product} in {colour}",
    "{finish} {colour} {product}",
)
_HELD_OUT_PHRASES = ("{strength} {product} in {colour}", "{colour} {strength} {product}")

_STOP_WORDS = frozenset(
    word
    for line in (
        "a an the with and of in on wearing wear photo portrait picture image someone person face woman man make",
        "made me her his my to some very really bit little more style styled look looks looking plus also for as like",
        "is it that this please i want give apply add put him them their your but so too much",
    )
    for word in line.split()
)
_NEGATIONS = frozenset(("no", "without", "not"))
# Between what is said of one product and what is said of the next; a comma does the same.
_ENDS = ("and", "but", "with", "plus")


def words_of(text: str) -> list[str]:
    """Lower-case words of any script, hyphens taken apart."""
    text = unicodedata.normalize("NFC", text.lower())
    # Many scripts write vowels as marks, which are no letters to ``re``; a mark without a letter before it is no word.
    text = "".join(sign if unicodedata.category(sign)[0] in "LM" else " " for sign in text)
    return re.findall(r"\w\S*", text)


@cache
def known_words() -> frozenset[str]:
    """Every word that the grammar can say."""
    texts: list[str] = [*_NEGATIONS, "makeup", "make", "up"]
    for name, (_, synonyms) in _COLOURS.items():
        texts += [name, *synonyms]
    for product_words in _PRODUCT_WORDS.values():
        texts += product_words
    for _, strengths in _INTENSITIES.values():
        texts += strengths
    for finishes in _FINISHES.values():
        texts += finishes
    for name, (synonyms, _) in _LOOKS.items():
        texts += [name, *synonyms]
    return frozenset(word for text in texts for word in words_of(text))


def read_prompt(prompt: str) -> PromptReading:
    """Sort a prompt's words into known and unknown ones; stop words are left out."""
    known, unknown = [], []
    for word in words_of(prompt):
        if word in known_words():
            known.append(word)
        elif word not in _STOP_WORDS:
            close = difflib.get_close_matches(word, sorted(known_words()), n=3, cutoff=0.6)
            unknown.append((word, tuple(close)))
    return PromptReading(tuple(known), tuple(unknown))


@dataclass(frozen=True)
class _Item:
    """Something that a prompt says.

    Attributes:
        kind: "look", "product", "colour", "strength", "finish", "not", "in" or "end".
        value: what of this kind.
        refused: whether it is what should not be.
    """

    kind: str
    value: str
    refused: bool = False


@cache
def _lexicon() -> dict[tuple[str, ...], _Item]:
    entries: dict[tuple[str, ...], _Item] = {}

    def add(text: str, kind: str, value: str) -> None:
        entries.setdefault(tuple(words_of(text)), _Item(kind, value))

    for name, (synonyms, _) in _LOOKS.items():
        for text in (name, *synonyms):
            add(text, "look", name)
            short = [word for word in words_of(text) if word not in ("makeup", "look")]
            if len(short) == 1 and short[0] not in _AMBIGUOUS:
                add(short[0], "look", name)
    for product, product_words in _PRODUCT_WORDS.items():
        for text in product_words:
            add(text, "product", product)
    for name, (_, synonyms) in _COLOURS.items():
        for text in (name, *synonyms):
            add(text, "colour", name)
    for name, (_, strengths) in _INTENSITIES.items():
        for text in strengths:
            add(text, "strength", name)
    for finishes in _FINISHES.values():
        for text in finishes:
            add(text, "finish", text)
    for text in _SMOKY:
        add(text, "finish", "smoky")
    add("much", "strength", "strong")
    for word in _NEGATIONS:
        add(word, "not", word)
    add("in", "in", "in")
    for word in _ENDS:
        add(word, "end", word)
    return entries


# Words that name a look only together with "makeup" or "look".
_AMBIGUOUS = frozenset(
    ("light", "subtle", "dark", "heavy", "dramatic", "warm", "bright", "work", "rock", "night", "without", "fall", "no")
)


def _items(prompt: str) -> list[_Item]:
    words, found, at = words_of(re.sub("[,;.]", f" {_ENDS[0]} ", prompt)), [], 0
    longest = max(len(key) for key in _lexicon())
    while at < len(words):
        for count in range(min(longest, len(words) - at), 0, -1):
            item = _lexicon().get(tuple(words[at : at + count]))
            if item is not None:
                found.append(item)
                at += count
                break
        else:
            at += 1
    return _refusals_marked(found)


def _refusals_marked(items: Sequence[_Item]) -> list[_Item]:
    """The items without negations, what they refuse being marked.

    "not" refuses the next word alone, "not too bold"; "no" and "without" all up to the product, "no bold lipstick".
    """
    marked: list[_Item] = []
    refusing, before = "", ""
    for item in items:
        if item.kind == "not":
            refusing = item.value
        elif item.kind in ("in", "end"):
            marked.append(item)
            if item.kind == "end" and before == "not":  # what it refused is no word of makeup
                refusing = ""
        else:
            marked.append(replace(item, refused=bool(refusing)))
            if refusing == "not" or item.kind in ("look", "product"):
                refusing = ""
        before = item.kind
    return marked


def parse(prompt: str, rng: random.Random) -> Look | None:
    """The look that a prompt asks for in so many words; where it leaves a choice (a look's colours) ``rng`` draws.

    Returns None when it names neither a product nor a look; an empty look for "no makeup", or when it only says what
    should not be.
    """
    return _understood(_items(prompt), rng, draw_named_look)


def asked(prompt: str, rng: random.Random) -> Look:
    """What is painted for a prompt; where it leaves a choice ``rng`` draws.

    Only products that it names, or that belong to a look that is named for them: without either nothing is painted,
    and of a natural look nothing but what is named besides. Smoke is grey to brown, or the colour that is named,
    darkened.
    """
    items = _items(prompt)
    smoky = any(item.value in ("smoky", "smoky eyes") and not item.refused for item in items)
    wanted = [item for item in items if not item.refused]
    if not any(item.kind in ("look", "product") for item in items):
        items = [item for item in items if item.value != "smoky"]
        items += [_Item("look", "smoky eyes")] if smoky else _place(prompt, wanted, rng)
        wanted = [item for item in items if not item.refused]
    look = _understood(items, rng, _draw_asked) or ()
    named = {item.value for item in wanted if item.kind == "product"}
    for item in wanted:
        if item.kind == "look" and item.value not in _PLAIN:
            named |= {option[0] for option in _ASKED.get(item.value, _LOOKS[item.value][1])}
    return tuple(_smoky(touch) if smoky else touch for touch in look if touch.product in named)


def _place(prompt: str, wanted: Sequence[_Item], rng: random.Random) -> list[_Item]:
    """A product for a colour of which the prompt doesn't say where it belongs: "blue makeup", but not "nude makeup".

    Where words are left that are no words of makeup, the colour may well be that of hair or of a shirt.
    """
    colours = [item.value for item in wanted if item.kind == "colour" and item.value != "nude"]
    if not colours or read_prompt(prompt).unknown:
        return []
    fitting = [product for product in ("lips", "eyeshadow") if colours[-1] in _PRODUCT_COLOURS[product]]
    return [_Item("product", rng.choice(fitting))]


def _draw_asked(name: str, rng: random.Random) -> Look:
    return _drawn(_ASKED.get(name, _LOOKS[name][1]), rng)


def _smoky(touch: Touch) -> Touch:
    if touch.product != "eyeshadow" or touch.colour is None or touch.colour in _SMOKE:
        return touch
    return replace(touch, colour=f"smoky {touch.colour}")


def _understood(items: Sequence[_Item], rng: random.Random, draw: Callable[[str, random.Random], Look]) -> Look | None:
    """``parse`` for a prompt already read, ``draw`` giving the products of a look."""
    if not any(item.kind in ("look", "product") for item in items):
        return None
    touches: dict[str, Touch] = {}
    for item in items:
        if item.kind == "look" and not item.refused:
            touches.update({touch.product: touch for touch in draw(item.value, rng)})
    # What is said of a product before it is named, and after it: "red lipstick", "lipstick in red, not too bold".
    said: dict[str, str] = {}
    last: str | None = None
    afterwards = False

    def describe_last() -> None:
        if last is not None and said:
            touches[last] = _touch(last, said, touches.get(last), rng)
            said.clear()

    for item in items:
        if item.kind == "product":
            last = None if item.refused else item.value
            if last is None:
                touches.pop(item.value, None)
            else:
                touches[last] = _touch(last, said, touches.get(last), rng)
            said.clear()
            afterwards = False
        elif item.kind == "look":
            last = "eyeshadow" if item.value == "smoky eyes" and not item.refused else None
            describe_last()
            said.clear()
            afterwards = False
        elif item.kind == "in":
            afterwards = True
        elif item.kind == "end":
            if afterwards:
                describe_last()
            afterwards = False
        elif item.refused:
            afterwards = True
            said.update(_opposite(item))
        else:
            said[item.kind] = item.value
    describe_last()
    return tuple(touches.values())


def _opposite(item: _Item) -> dict[str, str]:
    """What is said of a product when a word for it is refused: of a finish nothing."""
    if item.kind == "strength":
        return {"strength": "plain"}
    return {"other than": item.value} if item.kind == "colour" else {}


def _touch(product: str, words: dict[str, str], before: Touch | None, rng: random.Random) -> Touch:
    touch = before or Touch(product, _usual_colour(product))
    if "strength" in words:
        level = _INTENSITIES[words["strength"]][0]
        touch = replace(touch, intensity=level, spread=_spread(level))
    if "colour" in words:
        touch = replace(touch, colour=words["colour"])
    elif touch.colour is not None and touch.colour == words.get("other than"):
        others = [colour for colour in _PRODUCT_COLOURS[product] if colour != touch.colour]
        touch = replace(touch, colour=rng.choice(others) if others else None)
    if "finish" in words:
        more, wider = _FINISH_MEANING[words["finish"]]
        touch = replace(touch, intensity=min(0.97, touch.intensity * more), spread=min(1.0, touch.spread * wider))
    return touch


def _usual_colour(product: str) -> str | None:
    return _USUAL_COLOURS.get(product)


def _spread(intensity: float) -> float:
    return 0.25 + 0.5 * intensity


def draw_named_look(name: str, rng: random.Random) -> Look:
    """A random instance of a named look."""
    return _drawn(_LOOKS[name][1], rng)


def _drawn(options: Sequence[_Option], rng: random.Random) -> Look:
    touches = []
    for product, colours, intensity, spread, chance in options:
        if rng.random() < chance:
            touches.append(Touch(product, rng.choice(colours) if colours else None, intensity, spread))
    return tuple(touches)


def draw_touch(product: str, rng: random.Random) -> Touch:
    """A random touch of a product, of one of the intensities that words tell apart."""
    colours = _PRODUCT_COLOURS[product]
    # Light skin products are hardly seen: nobody asks for them alone in a light version.
    weights = (0.1, 0.4, 0.5) if product in ("contour", "highlight", "lashes", "brow") else (0.22, 0.42, 0.36)
    level = _INTENSITIES[rng.choices(list(_INTENSITIES), weights)[0]][0]
    return Touch(product, rng.choice(colours) if colours else None, level, _spread(level))


def describe_touch(touch: Touch, rng: random.Random, held_out: bool = False) -> str:
    """A few words for a touch; ``held_out`` uses the phrasings that training never says."""
    product = rng.choice(_PRODUCT_WORDS[touch.product])
    choices = min(_INTENSITIES.values(), key=lambda strength: abs(strength[0] - touch.intensity))[1]
    said = rng.choice(choices) if choices else ""
    if touch.colour is None:
        return f"{said} {product}".strip()
    colour = rng.choice((touch.colour, touch.colour, *_COLOURS[touch.colour][1]))
    if held_out:
        phrase = rng.choice(_HELD_OUT_PHRASES)
    else:
        phrase = rng.choices(_PHRASES, (0.3, 0.4, 0.2, 0.1))[0]
        if "{finish}" in phrase and (touch.product not in _FINISHES or said):
            phrase = "{strength} {colour} {product}"
    finish = rng.choice(_FINISHES[touch.product]) if "{finish}" in phrase else ""
    text = phrase.format(colour=colour, product=product, strength=said, finish=finish)
    return " ".join(text.split())


def describe_look(name: str, rng: random.Random) -> str:
    """One of the names of a named look."""
    return rng.choice((name, *_LOOKS[name][0]))


_JOINTS = (" and ", ", ", " with ", " and ")
_PRODUCT_WEIGHTS = {
    "lips": 4.0,
    "eyeshadow": 4.0,
    "eyeliner": 2.0,
    "blush": 2.2,
    "lip_liner": 0.6,
    "lashes": 1.0,
    "brow": 1.2,
    "contour": 1.0,
    "highlight": 1.0,
}


def sample_look(rng: random.Random, held_out: bool = False, subject: str = "") -> tuple[Look, str]:
    """Draw a look and a caption that describes it.

    Args:
        rng: source of all choices.
        held_out: use only templates and phrasings that training never uses.
        subject: what is known of the picture ("a smiling man"); said instead of a template's own subject.
    """
    if rng.random() < 0.34:
        name = rng.choice(LOOK_NAMES[1:])
        look = draw_named_look(name, rng)
        parts = [describe_look(name, rng)]
        if rng.random() < 0.3:  # a named look with one product said otherwise
            touch = draw_touch(rng.choice(("lips", "eyeshadow", "blush")), rng)
            look = (*(other for other in look if other.product != touch.product), touch)
            parts.append(describe_touch(touch, rng, held_out))
        return look, wrap(parts, rng, held_out, subject)
    look = draw_touches(rng)
    return look, describe(look, rng, held_out, subject)


def draw_touches(rng: random.Random) -> Look:
    """One to four random products."""
    remaining = dict(_PRODUCT_WEIGHTS)
    look: Look = ()
    for _ in range(rng.choices((1, 2, 3, 4), (0.42, 0.34, 0.16, 0.08))[0]):
        product = rng.choices(list(remaining), list(remaining.values()))[0]
        del remaining[product]
        look = (*look, draw_touch(product, rng))
    return look


def near_miss(look: Look, rng: random.Random) -> Look:
    """Nearly the same look: two colours exchanged where that is possible, else one touch drawn anew."""
    at = [i for i, touch in enumerate(look) if touch.product in ("lips", "eyeshadow")]
    if len(at) == 2 and look[at[0]].colour != look[at[1]].colour and rng.random() < 0.7:
        first, second = (look[i].colour for i in at)
        exchanged = {at[0]: replace(look[at[0]], colour=second), at[1]: replace(look[at[1]], colour=first)}
        return tuple(exchanged.get(i, touch) for i, touch in enumerate(look))
    index = rng.randrange(len(look))
    return (*look[:index], draw_touch(look[index].product, rng), *look[index + 1 :])


def describe(look: Look, rng: random.Random, held_out: bool = False, subject: str = "") -> str:
    """A caption that names every touch, in any order."""
    touches = rng.sample(look, len(look))
    return wrap([describe_touch(touch, rng, held_out) for touch in touches], rng, held_out, subject)


def wrap(parts: Sequence[str], rng: random.Random, held_out: bool = False, subject: str = "") -> str:
    """Join descriptions into a caption."""
    text = parts[0]
    for part in parts[1:]:
        text += rng.choice(_JOINTS) + part
    if subject:
        return f"{subject} with {text}"
    if held_out:
        return rng.choice(HELD_OUT_TEMPLATES).format(text)
    return rng.choices(TEMPLATES, (4,) + (1,) * (len(TEMPLATES) - 1))[0].format(text)
