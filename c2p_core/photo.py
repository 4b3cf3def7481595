"""Pictures with the metadata that has to be kept, and layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

Format = Literal["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"]
"""The file formats of photos, as Pillow names them; HEIF is only read."""


@dataclass(frozen=True)
class Source:
    """The file that a photo was read from; a result of the same format keeps all of it that the change leaves valid.

    Attributes:
        data: the whole file.
        orientation: 1 to 8, as it was applied to the pixels.
    """

    data: bytes
    orientation: int = 1


@dataclass(frozen=True)
class Photo:
    """One upright picture with its colour profile, metadata and encoding.

    Attributes:
        pixels: (height, width, channels), channels 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; uint8, uint16 or float32
            in 0..1; encoded in the colour space of ``icc`` (sRGB when None); straight alpha.
        icc: ICC profile bytes.
        exif: EXIF block; the orientation has been applied to the pixels, and its tag is 1.
        xmp: XMP packet.
        iptc: IPTC data sets.
        comments: texts of the file, in UTF-8.
        format: the source's file format under Pillow's name ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"), None for
            raw pixels.
        encoding: what the writer needs to keep the quality of the source (JPEG quantisation tables, subsampling,
            lossless flag, bit depth, resolution); only ``io.encode`` interprets it.
        source: the file; a result of the same format takes its metadata from it, a result of another format takes those
            above. None for raw pixels.
    """

    pixels: NDArray[Any]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()
    format: Format | None = None
    encoding: dict[str, Any] = field(default_factory=dict)
    source: Source | None = field(default=None, repr=False)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def with_pixels(self, pixels: NDArray[Any]) -> Photo:
        """The same picture with other pixels.

        Raises:
            ValueError: the shape or type differs.
        """
        if pixels.shape != self.pixels.shape or pixels.dtype != self.pixels.dtype:
            raise ValueError(f"expected {self.pixels.shape} {self.pixels.dtype}, got {pixels.shape} {pixels.dtype}")
        return replace(self, pixels=pixels)


@dataclass(frozen=True)
class Layer:
    """One layer of a face; lists of layers run from bottom to top.

    Attributes:
        name: its content in plain English: "Reshaped skin", "Foundation", "Lipstick", "Eyeshadow" …
        face: index of the face it belongs to, from 0; in a ``ProtectResult`` the face's number.
        mode: "normal" or "hard-light". Both blend and composite in the photo's own encoding (GIMP 3: blend space and
            composite space RGB_NON_LINEAR; GIMP 2.10: RGB_PERCEPTUAL), a hard-light layer clipped to what is below
            it (composite mode CLIP_TO_BACKDROP), at full opacity.
        x, y: position of its upper left pixel in the photo.
        pixels: (height, width, 2 or 4) grey or RGB with straight alpha, in the photo's type and colour space.
    """

    name: str
    face: int
    mode: Literal["normal", "hard-light"]
    x: int
    y: int
    pixels: NDArray[Any]
