"""The look that a search starts from: the text model's choice, in the numbers that priors understand."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.looks import choose_look
from c2p_core.guidance.vocabulary import PIGMENTS, Look
from c2p_core.priors.products import PRODUCTS, bare_code, product_row


def encode_look(look: Look) -> Tensor:
    """The (9, 6) product code of a look; products that it doesn't name are absent."""
    code = bare_code()
    for touch in look:
        name = "black" if touch.product == "lashes" else touch.colour
        colour = None if name is None else PIGMENTS[name]
        code[PRODUCTS.index(touch.product)] = product_row(touch.product, colour, touch.intensity, touch.spread)
    return code


def choose_starting_look(
    prompt: str, preview: Callable[[Tensor], Tensor], mesh: Tensor, guidance: TextGuidance, seed: int = 0
) -> Tensor:
    """The (9, 6) product code of what the prompt asks for, in the version that shows it best on this very face.

    Args:
        prompt: makeup in words.
        preview: the face in a (9, 6) product code, (3, 256, 256) sRGB.
        mesh: (468, 2) of the face, in canvas pixels.
        guidance: rates the pictures.
        seed: of the candidates.
    """
    return encode_look(choose_look(prompt, lambda look: preview(encode_look(look)), mesh, guidance, seed))
