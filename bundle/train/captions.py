"""Draws random makeup looks with captions, for training and checking the embedded CLIP.

The words come from ``c2p_core/guidance/vocabulary.toml``, whose parser reads these captions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from c2p_core.guidance.tables import TABLES
from c2p_core.guidance.vocabulary import NO_MAKEUP, TEMPLATES, Look, Touch, draw_named_look, usual_spread
from c2p_core.products.catalogue import PRODUCTS

# Templates and phrasings for the check only; training never uses them.
HELD_OUT_TEMPLATES = ("a portrait of someone wearing {}", "a photo of a face with {}", "a person with {} in a photo")
_HELD_OUT_PHRASINGS = ("{strength} {product} in {colour}", "{colour} {strength} {product}")

_PHRASINGS = (
    "{colour} {product}",
    "{strength} {colour} {product}",
    "{product} in {colour}",
    "{finish} {colour} {product}",
)
_CONJUNCTIONS = (" and ", ", ", " with ", " and ")
# Relative frequency of each product; 1 for missing ones. Their order affects the draws of a seed.
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
        rng: draws everything.
        held_out: use only templates and phrasings that training never uses.
        subject: description of the person ("a smiling man"), which replaces the template's subject.
    """
    if rng.random() < 0.34:
        name = rng.choice([name for name in TABLES.looks if name != NO_MAKEUP])
        look = draw_named_look(name, rng)
        parts = [describe_named_look(name, rng)]
        if rng.random() < 0.3:  # a named look with one product changed
            touch = draw_touch(rng.choice(("lips", "eyeshadow", "blush")), rng)
            look = (*(other for other in look if other.product != touch.product), touch)
            parts.append(describe_touch(touch, rng, held_out))
        return look, compose_caption(parts, rng, held_out, subject)
    look = draw_products(rng)
    return look, describe(look, rng, held_out, subject)


def draw_products(rng: random.Random) -> Look:
    """Draw one to four random products."""
    remaining = {**_PRODUCT_WEIGHTS, **{name: 1.0 for name in PRODUCTS if name not in _PRODUCT_WEIGHTS}}
    look: Look = ()
    for _ in range(rng.choices((1, 2, 3, 4), (0.42, 0.34, 0.16, 0.08))[0]):
        product = rng.choices(list(remaining), list(remaining.values()))[0]
        del remaining[product]
        look = (*look, draw_touch(product, rng))
    return look


def draw_touch(product: str, rng: random.Random) -> Touch:
    """Draw a random touch of a product, with one of the intensities that have words."""
    colours = TABLES.products[product].colours
    # These are hardly visible even when strong, so light versions are rare.
    weights = (0.1, 0.4, 0.5) if product in ("contour", "highlight", "lashes", "brow") else (0.22, 0.42, 0.36)
    intensity = rng.choices(list(TABLES.strengths.values()), weights)[0].intensity
    return Touch(product, rng.choice(colours) if colours else None, intensity, usual_spread(intensity))


def draw_hard_negative(look: Look, rng: random.Random) -> Look:
    """Draw a look that is easily confused with this one: two colours swapped if possible, else one touch redrawn."""
    indices = [i for i, touch in enumerate(look) if touch.product in ("lips", "eyeshadow")]
    if len(indices) == 2 and look[indices[0]].colour != look[indices[1]].colour and rng.random() < 0.7:
        first, second = (look[i].colour for i in indices)
        swapped = {
            indices[0]: replace(look[indices[0]], colour=second),
            indices[1]: replace(look[indices[1]], colour=first),
        }
        return tuple(swapped.get(i, touch) for i, touch in enumerate(look))
    index = rng.randrange(len(look))
    return (*look[:index], draw_touch(look[index].product, rng), *look[index + 1 :])


def describe(look: Look, rng: random.Random, held_out: bool = False, subject: str = "") -> str:
    """Compose a caption that names every touch, in random order."""
    touches = rng.sample(look, len(look))
    return compose_caption([describe_touch(touch, rng, held_out) for touch in touches], rng, held_out, subject)


def describe_touch(touch: Touch, rng: random.Random, held_out: bool = False) -> str:
    """Describe a touch in a few words; ``held_out`` uses phrasings that training never uses."""
    product = rng.choice(TABLES.products[touch.product].words)
    strengths = min(TABLES.strengths.values(), key=lambda strength: abs(strength.intensity - touch.intensity)).words
    strength = rng.choice(strengths) if strengths else ""
    if touch.colour is None:
        return f"{strength} {product}".strip()
    colour = rng.choice((touch.colour, touch.colour, *TABLES.colours[touch.colour].synonyms))
    finishes = TABLES.products[touch.product].finishes
    if held_out:
        phrasing = rng.choice(_HELD_OUT_PHRASINGS)
    else:
        phrasing = rng.choices(_PHRASINGS, (0.3, 0.4, 0.2, 0.1))[0]
        if "{finish}" in phrasing and (not finishes or strength):
            phrasing = "{strength} {colour} {product}"
    finish = rng.choice(finishes) if "{finish}" in phrasing else ""
    text = phrasing.format(colour=colour, product=product, strength=strength, finish=finish)
    return " ".join(text.split())


def describe_named_look(name: str, rng: random.Random) -> str:
    """Draw one of the names of a named look."""
    return rng.choice((name, *TABLES.looks[name].synonyms))


def compose_caption(parts: Sequence[str], rng: random.Random, held_out: bool = False, subject: str = "") -> str:
    """Join descriptions into a caption."""
    text = parts[0]
    for part in parts[1:]:
        text += rng.choice(_CONJUNCTIONS) + part
    if subject:
        return f"{subject} with {text}"
    if held_out:
        return rng.choice(HELD_OUT_TEMPLATES).format(text)
    return rng.choices(TEMPLATES, (4,) + (1,) * (len(TEMPLATES) - 1))[0].format(text)
