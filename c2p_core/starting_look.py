"""The look that a search starts from: chosen by the text model, encoded as a product code for the priors."""

from __future__ import annotations

import random
from collections.abc import Callable

from torch import Tensor

from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canvas import CanvasFace
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.looks import choose_look, draw_candidates
from c2p_core.guidance.vocabulary import PIGMENTS, Look
from c2p_core.products.catalogue import CATALOGUE, PRODUCTS
from c2p_core.products.codes import make_bare_code, product_row
from c2p_core.products.geometry import build_product_maps
from c2p_core.products.paint import find_hidden


def encode_look(look: Look) -> Tensor:
    """Encode a look as a (9, 6) product code; products that it does not name are absent."""
    code = make_bare_code()
    for touch in look:
        name = CATALOGUE[touch.product].fixed_colour or touch.colour
        colour = None if name is None else PIGMENTS[name]
        code[PRODUCTS.index(touch.product)] = product_row(touch.product, colour, touch.intensity, touch.spread)
    return code


def choose_starting_look(
    prompt: str, preview: Callable[[Tensor], Tensor], mesh: Tensor, guidance: TextGuidance, seed: int = 0
) -> Tensor:
    """Choose the variant of the prompt's look that the text model rates best on this face.

    Args:
        prompt: makeup style in words.
        preview: renders the face with a (9, 6) product code, as (3, 256, 256) sRGB.
        mesh: (468, 2) landmarks of the face, in canvas pixels.
        guidance: rates the rendered variants.
        seed: seeds the variants.

    Returns:
        (9, 6) product code.
    """
    return encode_look(choose_look(prompt, lambda look: preview(encode_look(look)), mesh, guidance, seed))


def make_literal_look(prompt: str, seed: int = 0) -> Tensor:
    """Make the prompt's look as a (9, 6) product code, the same on every face; see ``choose_starting_look``."""
    return encode_look(draw_candidates(prompt, random.Random(seed))[0])


def leave_out_hidden(look: Tensor, face: CanvasFace) -> tuple[Tensor, tuple[str, ...]]:
    """Leave out the products of a look that hardly show, because something covers that part of the face.

    Lipstick behind a microphone would be a red dot beside it.

    Args:
        look: (9, 6) product code.
        face: on its canvas.

    Returns:
        the look without them, and their titles, in the order of coats.
    """
    if face.visible is None:
        return look, ()
    maps = build_product_maps(face.mesh.cpu().numpy(), CANVAS, CANVAS_EYE_DISTANCE)
    hidden = find_hidden(look.cpu(), maps, face.visible.cpu())
    remaining = look.clone()
    for name in hidden:
        index = PRODUCTS.index(name)
        remaining[index] = make_bare_code()[index].to(look)
    return remaining, tuple(CATALOGUE[name].title for name in hidden)
