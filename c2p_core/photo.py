"""Pictures, and what has to survive with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

Format = Literal["JPEG", "PNG", "TIFF", "WEBP"]
"""The file formats of photos, as Pillow names them."""


@dataclass(frozen=True)
class Photo:
    """One upright picture and what has to survive with it.

    Attributes:
        pixels: (height, width, channels), channels 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; uint8, uint16 or float32
            in 0..1; encoded in the colour space of ``icc`` (sRGB when None); straight alpha.
        icc: ICC profile bytes.
        exif: EXIF block without the orientation tag's effect (orientation is applied to the pixels and reset to 1).
        xmp: XMP packet.
        format: file format it came from, None for raw pixels.
        encoding: what the writer needs to keep the quality of the source (JPEG quantisation tables, subsampling,
            lossless flag, resolution); opaque to everybody but ``io.encode``.
    """

    pixels: NDArray[Any]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    format: Format | None = None
    encoding: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def with_pixels(self, pixels: NDArray[Any]) -> Photo:
        """The same picture with other pixels of the same shape and type."""
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            raise ValueError(f"expected {self.pixels.shape} {self.pixels.dtype}, got {pixels.shape} {pixels.dtype}")
        return replace(self, pixels=pixels)


@dataclass(frozen=True)
class Layer:
    """One layer of a face; a list of them goes from the bottom to the top.

    Attributes:
        name: what it holds, in plain English: "Reshaped skin", "Foundation", "Lipstick", "Eyeshadow" …
        face: which of the changes it belongs to, from 0.
        mode: "normal" or "hard-light". Both blend and composite in the photo's own encoding (GIMP 3: blend space and
            composite space RGB_NON_LINEAR; GIMP 2.10: RGB_PERCEPTUAL), a hard-light layer clipped to what is below
            it (composite mode CLIP_TO_BACKDROP), at full opacity.
        x, y: of its upper left pixel in the photo.
        pixels: (height, width, 2 or 4) grey or RGB with straight alpha, of the photo's own type and colour space.
    """

    name: str
    face: int
    mode: Literal["normal", "hard-light"]
    x: int
    y: int
    pixels: NDArray[Any]
