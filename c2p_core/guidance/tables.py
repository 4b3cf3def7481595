"""The tables of ``vocabulary.toml``: colours, strengths, finishes and looks, with the words for each, and products'.

Read once, at import. The file is a package resource, which works in a checkout, a wheel and a zip file alike.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from c2p_core.products import catalogue
from c2p_core.products.catalogue import CATALOGUE, Rgb

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Colour:
    """A pigment that prompts can name: sRGB in 0..1, and other words for it."""

    rgb: Rgb
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Product:
    """A product that prompts can name.

    Attributes:
        words: names for it.
        colours: names of the colours it may have; empty for a product without colours.
        usual_colour: its colour when the prompt names none; None for the renderer's default.
        finishes: words for its finish in captions.
    """

    words: tuple[str, ...]
    colours: tuple[str, ...]
    usual_colour: str | None
    finishes: tuple[str, ...]


@dataclass(frozen=True)
class Strength:
    """How strongly a product is applied: intensity in 0..1, and the words for it."""

    intensity: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Finish:
    """A finish: factors of a product's intensity and spread, and the words for it."""

    intensity: float
    spread: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Ingredient:
    """One product of a named look.

    Attributes:
        product: a key of ``Tables.products``.
        colours: one of them is drawn; empty when the product has none.
        intensity: 0..1.
        spread: 0..1.
        chance: probability 0..1 that the look includes the product.
    """

    product: str
    colours: tuple[str, ...]
    intensity: float
    spread: float
    chance: float


@dataclass(frozen=True)
class NamedLook:
    """A look that prompts can name.

    Attributes:
        synonyms: other names.
        products: meaning of the name in captions.
        painted: products to paint on a photo.
        only_named: paint only those of them that the prompt also names.
    """

    synonyms: tuple[str, ...]
    products: tuple[Ingredient, ...]
    painted: tuple[Ingredient, ...]
    only_named: bool


@dataclass(frozen=True)
class Tables:
    """The vocabulary of prompts: ``vocabulary.toml``, whose comments explain each table, and the catalogue of products.

    Dictionaries are keyed by name.
    """

    presets: tuple[str, ...]
    templates: tuple[str, ...]
    separators: tuple[str, ...]
    negations: tuple[str, ...]
    ambiguous: frozenset[str]
    stop_words: frozenset[str]
    colours: dict[str, Colour]
    smoke: dict[str, Rgb]
    smoky_share: float
    soot: Rgb
    products: dict[str, Product]
    strengths: dict[str, Strength]
    finishes: dict[str, Finish]
    looks: dict[str, NamedLook]


def _read_tables() -> Tables:
    toml = tomllib.loads(files("c2p_core.guidance").joinpath("vocabulary.toml").read_text(encoding="utf-8"))
    colours = {name: Colour(_parse_rgb(row["srgb"]), tuple(row["synonyms"])) for name, row in toml["colours"].items()}
    return Tables(
        presets=tuple(toml["presets"]),
        templates=tuple(toml["templates"]),
        separators=tuple(toml["separators"]),
        negations=tuple(toml["negations"]),
        ambiguous=frozenset(toml["ambiguous"]),
        stop_words=frozenset(toml["stop_words"]),
        colours=colours,
        smoke={name: _parse_rgb(code) for name, code in toml["smoke"].items()},
        smoky_share=toml["smoky"]["share"],
        soot=_parse_rgb(toml["smoky"]["soot"]),
        products={name: _read_product(product, tuple(colours)) for name, product in CATALOGUE.items()},
        strengths={name: Strength(row["intensity"], tuple(row["words"])) for name, row in toml["strengths"].items()},
        finishes={
            name: Finish(row["intensity"], row["spread"], tuple(row["words"])) for name, row in toml["finishes"].items()
        },
        looks=_read_looks(toml["looks"]),
    )


def _parse_rgb(code: str) -> Rgb:
    """0..1 from six hexadecimal digits."""
    return (int(code[0:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:6], 16) / 255)


def _read_product(record: catalogue.Product, every_colour: tuple[str, ...]) -> Product:
    colours = record.colours
    if record.not_colours is not None:
        colours = tuple(name for name in every_colour if name not in record.not_colours)
    return Product(record.words, colours, record.usual_colour, record.finishes)


def _read_looks(rows: dict[str, dict[str, Any]]) -> dict[str, NamedLook]:
    looks: dict[str, NamedLook] = {}
    for name, row in rows.items():
        products = painted = tuple(map(_read_ingredient, row["products"]))
        if "painted" in row:
            painted = tuple(map(_read_ingredient, row["painted"]))
        elif "painted_as" in row:  # a look further up
            painted = looks[row["painted_as"]].painted
        elif "painted_colours" in row:
            colours = row["painted_colours"]
            painted = tuple(
                replace(ingredient, colours=tuple(colours.get(ingredient.product, ingredient.colours)))
                for ingredient in products
            )
        looks[name] = NamedLook(tuple(row["synonyms"]), products, painted, row.get("only_named", False))
    return looks


def _read_ingredient(row: dict[str, Any]) -> Ingredient:
    colours = tuple(row.get("colours", ()))
    return Ingredient(row["product"], colours, row["intensity"], row["spread"], row.get("chance", 1.0))


TABLES = _read_tables()
