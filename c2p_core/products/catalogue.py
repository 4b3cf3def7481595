"""The makeup products, one record each: the only source for painting, prompts and the names of layers.

Imports no other module of the program, so that guidance, priors and layers can all use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Product:
    """Everything that defines a product.

    Attributes:
        name: its key in codes, looks and the tables of prompts.
        words: its names in prompts.
        opacity: the highest, 0..1.
        extent, softness: ranges in the units of its region's level map.
        limit: the largest change of optical density.
        palette: None for any colour; else three sRGB colours to mix or, if ``relative``, three changes of the skin's
            density.
        relative: see ``palette``.
        colours: names of the colours that prompts may give it (``guidance/vocabulary.toml``). If empty, all colours but
            ``not_colours``, or none where that is None.
        not_colours: see ``colours``.
        usual_colour: its colour when a prompt names none, None for the middle of its palette.
        fixed_colour: its colour, whatever a prompt says.
        finishes: words for its finish in training captions.
        own_region: its region, a key of ``geometry.REGIONS``; empty where the key is the product's name.
        sticks_to: the surface that it can be painted on, see ``paint``.
        own_title: the name of its layer; empty where it follows from ``name``.
    """

    name: str
    words: tuple[str, ...]
    opacity: float
    extent: tuple[float, float]
    softness: tuple[float, float]
    limit: float
    palette: tuple[Rgb, Rgb, Rgb] | None = None
    relative: bool = False
    colours: tuple[str, ...] = ()
    not_colours: tuple[str, ...] | None = None
    usual_colour: str | None = None
    fixed_colour: str | None = None
    finishes: tuple[str, ...] = ()
    own_region: str = ""
    sticks_to: Literal["anything", "skin", "lids", "hairs", "eyes"] = "anything"
    own_title: str = ""

    @property
    def region(self) -> str:
        return self.own_region or self.name

    @property
    def title(self) -> str:
        """The name of its layer, in English."""
        return self.own_title or self.name.replace("_", " ").capitalize()


_BROWN_TO_BLACK = ((0.06, 0.05, 0.05), (0.27, 0.18, 0.12), (0.50, 0.38, 0.26))

# From the lowest coat to the highest.
_PRODUCTS = (
    Product(
        "contour",
        ("contour", "contouring", "bronzer", "sculpted cheekbones"),
        opacity=0.60,
        extent=(0.30, 1.30),
        softness=(0.40, 0.80),
        limit=0.8,
        palette=((0.62, 0.80, 0.86), (0.50, 0.80, 1.02), (0.70, 0.78, 0.78)),
        relative=True,
        sticks_to="skin",
    ),
    Product(
        "blush",
        ("blush", "blusher", "rouge", "cheeks", "flushed cheeks"),
        opacity=0.75,
        extent=(0.20, 1.10),
        softness=(0.50, 0.90),
        limit=0.9,
        palette=((0.90, 0.42, 0.50), (0.95, 0.50, 0.36), (0.52, 0.16, 0.28)),
        colours=("pink", "peach", "coral", "plum"),
        usual_colour="pink",
        sticks_to="skin",
    ),
    Product(
        "highlight",
        ("highlighter", "highlight", "glow", "glowing skin", "dewy skin"),
        opacity=0.90,
        extent=(0.20, 1.10),
        softness=(0.40, 0.80),
        limit=0.6,
        palette=((-0.42, -0.42, -0.42), (-0.46, -0.42, -0.30), (-0.42, -0.36, -0.36)),
        relative=True,
        sticks_to="skin",
    ),
    Product(
        "eyeshadow",
        ("eyeshadow", "eye shadow", "eyelids", "shadow", "eyes"),
        opacity=0.95,
        extent=(0.25, 0.85),
        softness=(0.07, 0.22),
        limit=2.6,
        not_colours=(),
        usual_colour="brown",
        finishes=("shimmery", "matte", "smudged", "metallic"),
        sticks_to="lids",
    ),
    Product(
        "brow",
        ("brows", "eyebrows", "filled brows", "defined brows"),
        opacity=0.80,
        extent=(-0.012, 0.012),
        softness=(0.008, 0.022),
        limit=2.0,
        palette=_BROWN_TO_BLACK,
        colours=("black", "brown"),
        sticks_to="hairs",
        own_title="Brows",
    ),
    Product(
        "eyeliner",
        ("eyeliner", "winged liner", "cat eye", "winged eyeliner", "eye liner", "kohl"),
        opacity=0.97,
        extent=(0.010, 0.040),
        softness=(0.004, 0.014),
        limit=3.5,
        colours=("black", "brown", "blue", "white", "green", "purple", "gold", "red", "turquoise"),
        usual_colour="black",
        sticks_to="eyes",
    ),
    Product(
        "lashes",
        ("mascara", "lashes", "eyelashes", "false lashes"),
        opacity=0.90,
        extent=(0.003, 0.014),
        softness=(0.003, 0.006),
        limit=3.0,
        palette=_BROWN_TO_BLACK,
        fixed_colour="black",
        sticks_to="eyes",
    ),
    Product(
        "lips",
        ("lipstick", "lips", "lip colour", "lip color", "lip tint", "lip gloss"),
        opacity=0.95,
        # Lipstick stays inside the edge of the lips: the softer it is, the farther inside it starts.
        extent=(-0.016, -0.006),
        softness=(0.004, 0.009),
        limit=3.0,
        not_colours=("navy", "light blue", "olive", "yellow", "grey"),
        usual_colour="red",
        finishes=("matte", "glossy", "satin", "creamy"),
        own_title="Lipstick",
    ),
    Product(
        "lip_liner",
        ("lip liner", "lip pencil", "lined lips"),
        opacity=0.85,
        extent=(0.006, 0.014),
        softness=(0.003, 0.006),
        limit=2.2,
        colours=("red", "dark red", "pink", "brown", "plum", "black", "mauve"),
        usual_colour="dark red",
    ),
)
CATALOGUE: dict[str, Product] = {product.name: product for product in _PRODUCTS}
PRODUCTS = tuple(CATALOGUE)
"""Their names, from the lowest coat to the highest."""
