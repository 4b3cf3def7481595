# What the plug-in for GIMP 2.10 uses of gimpfu, which exists only inside of GIMP and only for Python 2.7.

from collections.abc import Callable, Sequence
from typing import Any

PF_DRAWABLE: int
PF_FILENAME: int
PF_IMAGE: int
PF_LAYER: int
PF_OPTION: int
PF_RADIO: int
PF_SLIDER: int
PF_SPINNER: int
PF_STRING: int
PF_TOGGLE: int

ADD_MASK_BLACK: int
ADD_MASK_WHITE: int
GRAY: int
GRAY_IMAGE: int
GRAYA_IMAGE: int
INDEXED: int
INTERPOLATION_NONE: int
LAYER_COLOR_SPACE_RGB_PERCEPTUAL: int
LAYER_COMPOSITE_CLIP_TO_BACKDROP: int
LAYER_MODE_HARDLIGHT: int
LAYER_MODE_NORMAL: int
MASK_DISCARD: int
PRECISION_DOUBLE_GAMMA: int
PRECISION_DOUBLE_LINEAR: int
PRECISION_FLOAT_GAMMA: int
PRECISION_FLOAT_LINEAR: int
PRECISION_HALF_GAMMA: int
PRECISION_HALF_LINEAR: int
PRECISION_U8_GAMMA: int
PRECISION_U8_LINEAR: int
PRECISION_U16_GAMMA: int
PRECISION_U16_LINEAR: int
PRECISION_U32_GAMMA: int
PRECISION_U32_LINEAR: int
RGB_IMAGE: int
RGBA_IMAGE: int

# GIMP's procedures, by name.
pdb: Any

class CancelError(RuntimeError): ...

class PixelRgn:
    # [x0:x1, y0:y1]: bytes of whole rows.
    def __getitem__(self, area: tuple[slice, slice]) -> bytes: ...
    def __setitem__(self, area: tuple[slice, slice], pixels: bytes) -> None: ...

class Drawable:
    bpp: int
    height: int
    width: int
    image: Image
    offsets: tuple[int, int]
    parent: Layer | None
    tattoo: int
    def parasite_find(self, name: str) -> Parasite | None: ...
    def flush(self) -> None: ...
    def get_pixel_rgn(self, x: int, y: int, width: int, height: int, dirty: bool, shadow: bool) -> PixelRgn: ...
    def update(self, x: int, y: int, width: int, height: int) -> None: ...

class Channel(Drawable): ...

class Layer(Drawable):
    layers: Sequence[Layer]  # of a group
    mask: Channel | None
    mode: int
    name: str
    opacity: float
    type: int
    visible: bool
    def __init__(
        self, image: Image, name: str, width: int, height: int, type: int, opacity: float, mode: int
    ) -> None: ...
    def add_mask(self, mask: Channel) -> None: ...
    def copy(self, add_alpha: bool) -> Layer: ...
    def create_mask(self, type: int) -> Channel: ...
    def parasite_attach(self, parasite: Parasite) -> None: ...
    def remove_mask(self, mode: int) -> None: ...
    def set_offsets(self, x: int, y: int) -> None: ...

class Image:
    ID: int
    active_layer: Layer
    floating_selection: Layer | None
    height: int
    layers: Sequence[Layer]
    name: str
    precision: int
    selection: Channel
    width: int
    def add_layer(self, layer: Layer, position: int) -> None: ...
    def get_layer_by_tattoo(self, tattoo: int) -> Layer | None: ...
    def remove_layer(self, layer: Layer) -> None: ...

class Parasite:
    data: str
    def __init__(self, name: str, flags: int, data: str) -> None: ...

class _Gimp:
    directory: str
    Layer: type[Layer]
    Parasite: type[Parasite]
    def image_list(self) -> list[Image]: ...
    def message(self, text: str) -> None: ...
    def progress_init(self, text: str) -> None: ...
    def progress_update(self, fraction: float) -> None: ...

gimp: _Gimp

def register(
    name: str,
    blurb: str,
    help: str,
    author: str,
    copyright: str,
    date: str,
    label: str,
    imagetypes: str,
    params: Sequence[tuple[Any, ...]],
    results: Sequence[tuple[Any, ...]],
    function: Callable[..., Any],
    menu: str,
    domain: tuple[str, str],
) -> None: ...
def main() -> None: ...
