"""Decodes JPEG, PNG, TIFF, WebP, AVIF and HEIF files to upright photos.

Pillow decodes JPEG and WebP, libvips PNG, TIFF and AVIF (which may have more than 8 bits), and pi-heif HEIF, where it
is installed. Decoders supply pixels only; metadata are read from the file's own segments, chunks and directories.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, UnidentifiedImageError

from c2p_core.errors import Malformed
from c2p_core.io import avif_file, colour_marks, exif, jpeg_file, photoshop, png_file, riff_file, tiff_file, xmp
from c2p_core.io.orientation import turn_upright
from c2p_core.io.unusable import Unusable
from c2p_core.io.vips import NUMBER_TYPES
from c2p_core.photo import Format, Photo, Source

# More than any current camera has; must equal Pillow's limit, which Pillow checks before decoding.
MAX_PIXELS = 178_956_970
_MEGAPIXELS = MAX_PIXELS // 10**6
# A smaller picture can't show a face.
MIN_SIDE = 16
# TIFF: tags with the bits of each channel, and whether channels are stored in separate planes.
_BITS_PER_SAMPLE, _PLANES = 258, 284
# TIFF: the tag with the kinds of the channels after the colours, and the kinds of alpha (premultiplied, straight).
_EXTRA_SAMPLES = 338
_ALPHA = (1, 2)
# TIFF: colour models that are recognised and refused.
_UNSUPPORTED_COLOURS = {5: "CMYK", 8: "LAB"}
# TIFF: names of the compressions that a library may not support.
_COMPRESSIONS = {
    6: "JPEG (old style)",
    7: "JPEG",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
# Those that Pillow's libtiff supports and libvips' may not.
_ONLY_PILLOW = (34925, 50000)
# Messages of libvips and Pillow, which have no error codes, on formats that this build doesn't read.
_NO_DECODER = re.compile(
    r"not configured|not implemented|unsupported compression|compression scheme|planes not supported", re.IGNORECASE
)
# TIFF: bits per channel that libvips reads; some scanners and cameras write 10, 12 or 14.
_SUPPORTED_BITS = (1, 2, 4, 8, 16, 32, 64)


@dataclass
class _Decoded:
    """Pixels as stored, and the file's unchanged metadata."""

    pixels: NDArray[Any]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()
    density: tuple[float, float] | None = None
    encoding: dict[str, Any] = field(default_factory=dict)
    orientation: int | None = None


def detect_format(data: bytes) -> Format | None:
    """Detect the format from a file's first bytes, whatever its name, so that only these six parsers get user data."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(png_file.SIGNATURE):
        return "PNG"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if avif_file.is_avif(data):
        return "AVIF"
    if avif_file.is_heif(data):
        return "HEIF"
    return None


def decode(data: bytes, kind: Format) -> Photo:
    """Decode one photo, upright, with the profile and metadata that must be kept.

    Raises:
        Unusable: too large, too small, CMYK, HDR, without a known colour space, animated or multi-page, with an
            unsupported compression or number type, or a HEIF where pi-heif is missing.
        OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, KeyError, TypeError, pyvips.Error: the
            file is damaged.
    """
    readers = {"JPEG": _read_jpeg, "WEBP": _read_webp, "PNG": _read_png, "TIFF": _read_tiff, "AVIF": _read_avif}
    reader = (readers | {"HEIF": _read_heif})[kind]
    try:
        with warnings.catch_warnings():
            # Pillow warns about pictures of more than half its size limit.
            warnings.simplefilter("ignore")
            decoded = reader(data)
    except Image.DecompressionBombError:
        raise Unusable("image-too-large", megapixels=_MEGAPIXELS) from None
    return _to_photo(decoded, data, kind)


def decode_jpeg_pixels(file: jpeg_file.JpegFile) -> NDArray[np.uint8]:
    """(height, width, 1 or 3) pixels of a JPEG as stored."""
    pixels = np.asarray(_open(file.strip_metadata(), "JPEG"))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _to_photo(decoded: _Decoded, data: bytes, kind: Format) -> Photo:
    height, width = decoded.pixels.shape[:2]
    cleaned = exif.clean_exif(decoded.exif) if decoded.exif else None
    packet, _ = xmp.clean_xmp(decoded.xmp)
    orientation = decoded.orientation or exif.read_orientation(cleaned) or xmp.read_orientation(decoded.xmp)
    return Photo(
        turn_upright(decoded.pixels, orientation),
        decoded.icc or colour_marks.profile_from_exif(cleaned),
        exif.turn_exif(cleaned, orientation, width, height) if cleaned else None,
        xmp.turn_xmp(packet, orientation, width, height) if packet else None,
        photoshop.clean_iptc(decoded.iptc) or None if decoded.iptc else None,
        decoded.comments,
        kind,
        decoded.encoding | {"dpi": _turn_density(decoded.density, orientation)},
        Source(data, orientation),
    )


def _turn_density(density: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    return density[::-1] if density and orientation >= 5 else density


def _read_jpeg(data: bytes) -> _Decoded:
    # Phones store several pictures in one JPEG ("MPO": depth, gain map); the first is the photo.
    file = jpeg_file.parse(data)
    if (coding := jpeg_file.name_unsupported_coding(file)) is not None:
        raise Unusable("image-compression-unsupported", compression=coding)
    stripped = file.strip_metadata()
    picture = _open(stripped, "JPEG")
    _check_size(picture.width, picture.height)
    if picture.mode not in ("L", "RGB"):
        raise Unusable("image-colours-unsupported", colours=picture.mode)
    if not file.complete:
        # Decoders fill missing pixels with grey; libvips raises if any are missing.
        pyvips.Image.jpegload_buffer(stripped, fail_on="warning").avg()
    encoding: dict[str, Any] = {"progressive": bool(picture.info.get("progressive"))}
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        encoding["qtables"] = {index: list(table) for index, table in picture.quantization.items()}
        encoding["subsampling"] = JpegImagePlugin.get_sampling(picture)
    return _Decoded(
        _to_array(picture),
        jpeg_file.read_icc(file),
        jpeg_file.read_exif(file),
        jpeg_file.read_xmp(file),
        photoshop.find_iptc(jpeg_file.read_resources(file)),
        jpeg_file.read_comments(file),
        jpeg_file.read_density(file),
        encoding,
    )


def _read_webp(data: bytes) -> _Decoded:
    picture = _open(data, "WEBP")
    _check_size(picture.width, picture.height)
    if getattr(picture, "n_frames", 1) > 1:
        raise Unusable("image-animated")
    chunks = riff_file.parse(data)
    block = riff_file.find(chunks, b"EXIF")
    return _Decoded(
        _to_array(picture),
        riff_file.find(chunks, b"ICCP"),
        exif.HEADER + block.removeprefix(exif.HEADER) if block else None,
        riff_file.find(chunks, b"XMP "),
        encoding={"lossless": riff_file.find(chunks, b"VP8L") is not None},
    )


def _read_png(data: bytes) -> _Decoded:
    chunks = png_file.parse(data)
    header = png_file.find(chunks, b"IHDR")
    if header is None or len(header) != 13:
        raise Malformed("file-header-damaged")
    _check_size(int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"))
    if png_file.find(chunks, b"acTL") is not None:
        raise Unusable("image-animated")
    pixels = _read_vips_pixels(pyvips.Image.pngload_buffer(png_file.strip_metadata(chunks), fail_on="error"))
    return _Decoded(
        pixels,
        _read_png_profile(chunks),
        png_file.read_exif(chunks),
        png_file.read_xmp(chunks),
        png_file.read_iptc(chunks),
        png_file.read_comments(chunks),
        png_file.read_density(chunks),
    )


def _read_png_profile(chunks: list[png_file.Chunk]) -> bytes | None:
    """The colour space of a PNG as a profile, None for sRGB; chunks are read in their order of precedence."""
    coding = png_file.find(chunks, b"cICP")
    if coding is not None and len(coding) == 4:
        if coding[1] in (colour_marks.PQ, colour_marks.HLG):
            raise Unusable("image-hdr")
        if png_file.find(chunks, b"iCCP") is None:
            return _profile_from_numbers(coding[0], coding[1])
    if (icc := png_file.read_icc(chunks)) is not None:
        return icc
    if png_file.find(chunks, b"sRGB") is not None:
        return None
    return colour_marks.profile_from_chunks(png_file.find(chunks, b"gAMA"), png_file.find(chunks, b"cHRM"))


def _profile_from_numbers(primaries: int, transfer: int) -> bytes | None:
    try:
        return colour_marks.profile_from_numbers(primaries, transfer)
    except KeyError:
        raise Unusable("image-without-profile", colours=f"primaries {primaries}, transfer {transfer}") from None


def _read_tiff(data: bytes) -> _Decoded:
    pages = tiff_file.read_pages(data)
    if not pages:
        raise Unusable("image-without-pages")
    if len(pages) > 1:
        raise Unusable("image-of-several-pages", count=len(pages))
    (page,) = pages
    _check_size(page.number(256, 0), page.number(257, 0))
    photometric = page.number(262, 2)
    if photometric in _UNSUPPORTED_COLOURS:
        raise Unusable("image-colours-unsupported", colours=_UNSUPPORTED_COLOURS[photometric])
    if photometric not in (0, 1, 2, 3, 6):
        raise Unusable("image-colour-model-unknown")
    if unsupported := set(page.numbers(_BITS_PER_SAMPLE)).difference(_SUPPORTED_BITS):
        raise Unusable("image-numbers-unsupported", kind=f"{max(unsupported)} bits")
    tags = tiff_file.read_tags(data, page.directory, page.form)
    values = {tag.tag: tag.value for tag in tags}
    photoshop_block = values.get(tiff_file.PHOTOSHOP)
    iptc = values.get(tiff_file.IPTC) or (photoshop.find_iptc(photoshop_block) if photoshop_block else None)
    return _Decoded(
        _read_tiff_pixels(data, page),
        values.get(tiff_file.ICC),
        tiff_file.make_exif(tags),
        values.get(tiff_file.XMP),
        iptc,
        density=tiff_file.read_density(page),
        orientation=page.number(exif.ORIENTATION, 0) if 1 <= page.number(exif.ORIENTATION, 0) <= 8 else None,
    )


def _read_tiff_pixels(data: bytes, page: tiff_file.Page) -> NDArray[Any]:
    try:
        # libvips converts premultiplied alpha to straight alpha.
        image = pyvips.Image.tiffload_buffer(data, page=page.index, fail_on="error")
        return _read_vips_pixels(_drop_selections(image, page.numbers(_EXTRA_SAMPLES)))
    except pyvips.Error as error:
        if not _NO_DECODER.search(str(error)):
            raise
    # Pillow reads no colours of more than 8 bits.
    compression = page.number(tiff_file.COMPRESSION, 1)
    planes = page.number(_PLANES, 1) == 2 and compression not in _COMPRESSIONS
    name = "tiles of separate colours" if planes else _COMPRESSIONS.get(compression, str(compression))
    error_to_raise = Unusable("image-compression-unsupported", compression=name)
    if not (planes or compression in _ONLY_PILLOW) or set(page.numbers(_BITS_PER_SAMPLE)) != {8}:
        raise error_to_raise
    picture = _open(data, "TIFF")
    picture.seek(page.index)
    mode = {"P": "RGB", "RGBX": "RGB", "RGBa": "RGBA"}.get(picture.mode, picture.mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        raise error_to_raise
    return _to_array(picture if mode == picture.mode else picture.convert(mode))


def _drop_selections(image: Any, extra_samples: tuple[int, ...]) -> Any:
    """Keep the colours, and the first extra channel if the file declares it as alpha.

    Image editors save selections as extra channels; used as alpha, they would make the photo transparent.
    """
    if not extra_samples:
        return image
    return image.extract_band(0, n=image.bands - len(extra_samples) + (extra_samples[0] in _ALPHA))


def _read_boxes(data: bytes) -> avif_file.Properties:
    boxes = avif_file.read_properties(data)
    if boxes.animated:
        raise Unusable("image-animated")
    _check_size(*boxes.size)
    if boxes.colours and boxes.colours[1] in (colour_marks.PQ, colour_marks.HLG):
        raise Unusable("image-hdr")
    return boxes


def _profile_from_boxes(boxes: avif_file.Properties) -> bytes | None:
    numbers = boxes.colours
    if not numbers or numbers[0] == avif_file.UNSPECIFIED:
        return None
    return _profile_from_numbers(numbers[0], 13 if numbers[1] == avif_file.UNSPECIFIED else numbers[1])


def _read_avif(data: bytes) -> _Decoded:
    boxes = _read_boxes(data)
    try:
        image = pyvips.Image.heifload_buffer(data, fail_on="error")
        metadata = {name: _get_blob(image, f"{name}-data") for name in ("exif", "xmp", "icc-profile")}
        pixels = _read_avif_pixels(image, data, boxes)
    except (pyvips.Error, RuntimeError, ValueError) as error:
        raise _translate_error(data, error) from error
    return _Decoded(
        pixels,
        metadata["icc-profile"] or _profile_from_boxes(boxes),
        metadata["exif"],
        metadata["xmp"],
        encoding={"bits": boxes.bits, "further": boxes.further},
        # libheif has already turned the pixels as the file's boxes specify; EXIF only repeats that.
        orientation=1,
    )


def _read_avif_pixels(image: Any, data: bytes, boxes: avif_file.Properties) -> NDArray[Any]:
    try:
        pixels = _read_vips_pixels(image)
    except pyvips.Error:
        # libheif doesn't support operating points, so that it may find a larger picture than was announced.
        if boxes.bits != 8 or not avif_file.is_layered(data):
            raise
        return _to_array(ImageOps.exif_transpose(_open(data, "AVIF")))
    return _stretch_grey(pixels) if boxes.limited_grey else pixels


def _stretch_grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Stretch limited range, 16 to 235 of 255, which libheif keeps in grey pictures, to full range; alpha stays."""
    largest = np.iinfo(pixels.dtype).max
    unit = (largest + 1) / 256
    levels = (np.arange(largest + 1) - 16 * unit) * (largest / (219 * unit))
    stretched = np.rint(levels.clip(0, largest)).astype(pixels.dtype)
    colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    return np.concatenate([stretched[pixels[..., :colours]], pixels[..., colours:]], -1)


def _translate_error(data: bytes, error: Exception) -> Exception:
    """Translate a library's error: either the file has an unsupported feature, or it is damaged."""
    return avif_file.explain_unreadable(data, error) or ValueError(str(error))


def _read_heif(data: bytes) -> _Decoded:
    boxes = _read_boxes(data)
    try:
        import pi_heif  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise Unusable("image-heif-unreadable") from None
    # A file may hold several pictures; the primary one is the photo.
    try:
        file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        image = file[file.primary_index]
        image.load()
    except (RuntimeError, ValueError, IndexError) as error:
        # libheif reports some damaged files as unsupported, and finds no picture in some unsupported files.
        raise _translate_error(data, error) from error
    if image.premultiplied_alpha:
        pixels = _to_array(image.to_pillow().convert("RGBA"))
    else:
        # Copied, because pi-heif frees its buffer with the image. Rows may be padded.
        rows = np.asarray(image)[:, : image.size[0]]
        pixels = np.array(rows[..., None] if rows.ndim == 2 else rows)
    return _Decoded(
        pixels,
        image.info.get("icc_profile") or _profile_from_boxes(boxes),
        image.info.get("exif"),
        image.info.get("xmp"),
        encoding={"bits": boxes.bits, "further": boxes.further},
        # libheif has already turned the pixels as the file's boxes specify; EXIF only repeats that.
        orientation=1,
    )


def _get_blob(image: Any, name: str) -> bytes | None:
    return bytes(image.get(name)) if image.get_typeof(name) else None


def _open(data: bytes, kind: Format) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=[kind])
    except UnidentifiedImageError:
        # Pillow's own message names a Python object.
        raise Malformed("file-header-damaged") from None


def _to_array(picture: Image.Image) -> NDArray[Any]:
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise Unusable("image-too-large", megapixels=_MEGAPIXELS)
    if min(width, height) < MIN_SIDE:
        raise Unusable("image-too-small", width=width, height=height)


def _read_vips_pixels(image: Any) -> NDArray[Any]:
    if image.interpretation == "cmyk":
        raise Unusable("image-colours-unsupported", colours="CMYK")
    if image.format not in NUMBER_TYPES:
        raise Unusable("image-numbers-unsupported", kind=image.format)
    if image.bands > 4:
        raise Unusable("image-channels-unsupported", count=image.bands)
    pixels = np.ndarray(
        buffer=image.write_to_memory(), dtype=NUMBER_TYPES[image.format], shape=(image.height, image.width, image.bands)
    )
    if pixels.dtype == np.float32 and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise Unusable("image-hdr")
    return pixels
