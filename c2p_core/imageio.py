"""Photos in and out: JPEG, PNG, TIFF and WebP with colour profile, EXIF, XMP, alpha and bit depth kept.

JPEG and WebP go through Pillow, PNG and TIFF (which may have 16 bits or floats) through libvips. A picture is upright
after reading: its EXIF orientation is applied to the pixels once and reset.
"""

from __future__ import annotations

import io
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyvips  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin

from c2p_core import metadata
from c2p_core.errors import BadRequest, CannotWrite, Message, UnreadableImage
from c2p_core.files import write_whole
from c2p_core.photo import Photo

Format = Literal["JPEG", "PNG", "TIFF", "WEBP"]

# Larger than any camera of today; Pillow's own guard, which it checks before it decodes, must agree.
MAX_PIXELS = 178_956_970
_MEGAPIXELS = MAX_PIXELS // 10**6
# Bytes; as much as fits into a JPEG.
_LARGEST_PROFILE = 16 << 20
# No face fits into less.
MIN_SIDE = 16
FORMATS: dict[str, Format] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
# TIFF: colour models that can be named and not read.
_OTHER_COLOURS = {5: "CMYK", 8: "LAB"}
# TIFF: what the channels after the colours are, and which of these kinds are alpha (premultiplied, straight).
_EXTRA_SAMPLES = 338
_ALPHA = (1, 2)
# Pixels; what libjpeg and libwebp write at most.
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
# Bytes of EXIF and of XMP that one segment of a JPEG takes, behind their names.
_JPEG_EXIF, _JPEG_XMP = 65_533, 65_504
# For pictures that were not JPEG before; visually lossless.
_JPEG_QUALITY = 95
_WRITING_JPEG = threading.Lock()
_MIDDLE = 128
_WEBP_QUALITY = 95
# PNG's cICP chunk begins with primaries and transfer function (ITU-T H.273).
_SRGB = b"\x01\x0d"
_PQ, _HLG = 16, 18
# Curves that differ less can't be told apart by eye; libpng says so.
_SAME_GAMMA = 0.05
_DTYPES: dict[str, Any] = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}
_UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, KeyError, TypeError, pyvips.Error)


class _Unusable(Exception):
    """What is wrong with a picture, by code and fields of ``UnreadableImage`` but for the ``path``."""

    def __init__(self, code: str, /, **fields: Any) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields


def read(path: Path) -> Photo:
    """Reads one picture, upright, with everything that has to survive.

    Raises:
        UnreadableImage: missing, not a file, empty, damaged, not of the four formats, too large, too small, CMYK,
            HDR, in other colours than sRGB without a profile, animated or of several pages, or of a number type that a
            photo doesn't have.
    """
    data = _bytes_of(path)
    kind = _format_of(path, data)
    reader = {"JPEG": _read_jpeg, "WEBP": _read_webp, "PNG": _read_png, "TIFF": _read_tiff}[kind]
    try:
        with warnings.catch_warnings(), _room_for_large_profiles():
            # Pillow warns of pictures between half of its size limit and the limit, and of damaged metadata.
            warnings.simplefilter("ignore")
            photo, orientation = reader(data)
    except _Unusable as error:
        raise UnreadableImage(error.code, path=str(path), **error.fields) from None
    except Image.DecompressionBombError:
        raise UnreadableImage("image-too-large", path=str(path), megapixels=_MEGAPIXELS) from None
    except _UNREADABLE as error:
        raise UnreadableImage("image-damaged", path=str(path), reason=_short(error)) from error
    return _upright(photo, orientation)


def write(path: Path, photo: Photo) -> None:
    """Writes a photo in the format of the file name's ending, in full or not at all.

    Lossless formats give the same pixels back. JPEG uses the quantisation and subsampling that the photo came with.

    Raises:
        BadRequest: the ending is unknown, or its format can't hold the photo (see ``check_target``).
        CannotWrite: no permission, no folder, no space, or the encoder failed.
    """
    check_target(path, photo)
    kind = FORMATS[path.suffix.lower()]
    try:
        data = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "WEBP": _webp}[kind](photo)
    except _UNREADABLE as error:
        raise CannotWrite("not-encoded", path=str(path), format=kind, reason=_short(error)) from error
    write_whole(path, data)


def check_target(path: Path, photo: Photo | None = None) -> None:
    """Says early whether ``path`` can name an output file and, where given, hold the photo.

    Raises:
        BadRequest: the ending is unknown, or its format can't hold the photo's alpha, bit depth, profile, size, EXIF
            or XMP.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise BadRequest("ending-unknown", name=path.name, known=list(FORMATS))
    if photo is None:
        return
    channels, deep = photo.pixels.shape[2], photo.pixels.dtype != np.uint8
    if kind == "JPEG" and channels in (2, 4):
        raise BadRequest("jpeg-without-transparency", instead=f"{path.stem}.png")
    if kind in ("JPEG", "WEBP") and deep:
        raise BadRequest("format-of-8-bits", format=kind, instead=f"{path.stem}.tif")
    if kind == "PNG" and photo.pixels.dtype == np.float32:
        raise BadRequest("png-without-floats", instead=f"{path.stem}.tif")
    if kind == "WEBP" and channels < 3 and photo.icc:
        raise BadRequest("webp-without-grey-profile", instead=f"{path.stem}.png")
    if (longest := max(photo.width, photo.height)) > (most := _LONGEST_SIDE.get(kind, longest)):
        raise BadRequest("format-too-small", format=kind, most=most, count=longest, instead=f"{path.stem}.png")
    for name, block, most in (("EXIF", photo.exif, _JPEG_EXIF), ("XMP", photo.xmp, _JPEG_XMP)):
        if kind == "JPEG" and block and len(block) > most:
            instead = f"{path.stem}.png"
            raise BadRequest("jpeg-metadata-too-long", block=name, most=most, count=len(block), instead=instead)


def to_srgb(photo: Photo) -> NDArray[np.float32]:
    """The working view that models look at: (height, width, 3) float32 in 0..1, sRGB, alpha left out.

    A photo with a profile is converted through 8 bits when it has no more, else through 16: in linear light, 8 bits
    leave few steps in the dark. Pixels that go back to a file never pass here. A profile that can't be used is taken
    for sRGB (``profile_warnings`` says so).
    """
    colour = photo.pixels[..., :1] if photo.pixels.shape[2] < 3 else photo.pixels[..., :3]
    through = _through_profile if colour.dtype == np.uint8 else _through_profile_in_16_bits
    if photo.icc and (converted := through(colour, photo.icc)) is not None:
        return _unit(converted)
    return np.repeat(_unit(colour), 3, axis=2) if colour.shape[2] == 1 else _unit(colour)


def own_gamma(photo: Photo) -> float | None:
    """Exponent of the photo's own encoding curve, read off its profile at middle grey; None for sRGB's."""
    if not photo.icc:
        return None
    grey = np.full((1, 1, 1 if photo.pixels.shape[2] < 3 else 3), _MIDDLE, np.uint8)
    converted = _through_profile(grey, photo.icc)
    if converted is None or abs(int(converted.ravel()[0]) - _MIDDLE) <= 1:
        return None
    linear = ((float(converted.ravel()[0]) / 255 + 0.055) / 1.055) ** 2.4
    return math.log(linear) / math.log(_MIDDLE / 255)


def profile_warnings(photo: Photo) -> list[Message]:
    """A message for the user when the photo's colour profile can't be used, else nothing."""
    if not photo.icc:
        return []
    grey = photo.pixels.shape[2] < 3
    if _through_profile(np.zeros((1, 1, 1 if grey else 3), np.uint8), photo.icc) is not None:
        return []
    return [Message("profile-ignored")]


def _through_profile_in_16_bits(colour: NDArray[Any], icc: bytes) -> NDArray[np.uint16] | None:
    # libvips takes a profile that does not fit for sRGB and says nothing.
    if _through_profile(np.zeros((1, 1, colour.shape[2]), np.uint8), icc) is None:
        return None
    deep = colour if colour.dtype == np.uint16 else np.rint(_unit(colour) * 65535).astype(np.uint16)
    picture = _vips(Photo(deep))
    picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    try:
        converted = picture.icc_transform("srgb", embedded=True, depth=16, intent="relative")
        data = converted.write_to_memory()
    except pyvips.Error:
        return None
    return np.ndarray(buffer=data, dtype=np.uint16, shape=(converted.height, converted.width, converted.bands))


def _through_profile(colour: NDArray[np.uint8], icc: bytes) -> NDArray[np.uint8] | None:
    picture = Image.fromarray(colour[..., 0] if colour.shape[2] == 1 else colour)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, source, target, renderingIntent=intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    return None if converted is None else np.asarray(converted)


def _unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    if pixels.dtype == np.float32:
        return pixels
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


# Reading


@contextmanager
def _room_for_large_profiles() -> Iterator[None]:
    """Pillow unpacks 1 MB of a PNG's profile and calls the file damaged when there is more, as printers' may have."""
    usual = PngImagePlugin.MAX_TEXT_CHUNK
    PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PROFILE
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = usual


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UnreadableImage("image-is-folder", path=str(path))
        if path.exists() and not path.is_file():
            raise UnreadableImage("image-is-no-file", path=str(path))
        data = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImage("image-missing", path=str(path)) from None
    except PermissionError:
        raise UnreadableImage("image-not-readable", path=str(path)) from None
    except (OSError, ValueError) as error:
        raise UnreadableImage("image-read-failed", path=str(path), reason=_short(error)) from error
    if not data:
        raise UnreadableImage("image-empty", path=str(path))
    return data


def _format_of(path: Path, data: bytes) -> Format:
    # Only these four parsers ever see a user's bytes, whatever the file is called.
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise UnreadableImage("image-format-unknown", path=str(path))


def _read_jpeg(data: bytes) -> tuple[Photo, int]:
    # Phones store several pictures in one JPEG ("MPO": depth, gain map); the first is the photo.
    picture = _open(data, "JPEG")
    _check_size(picture.width, picture.height)
    if picture.mode not in ("L", "RGB"):
        raise _Unusable("image-colours-unsupported", colours=picture.mode)
    encoding: dict[str, Any] = {"progressive": bool(picture.info.get("progressive"))}
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        encoding["qtables"] = {index: list(table) for index, table in picture.quantization.items()}
        encoding["subsampling"] = JpegImagePlugin.get_sampling(picture)
    return _from_pillow(picture, "JPEG", encoding)


def _read_webp(data: bytes) -> tuple[Photo, int]:
    picture = _open(data, "WEBP")
    _check_size(picture.width, picture.height)
    if getattr(picture, "n_frames", 1) > 1:
        raise _Unusable("image-animated")
    return _from_pillow(picture, "WEBP", {"lossless": b"VP8L" in _riff_chunks(data)})


def _read_png(data: bytes) -> tuple[Photo, int]:
    header = _open(data, "PNG")  # metadata only; the pixels come from libvips, which knows 16 bits
    _check_size(header.width, header.height)
    if getattr(header, "n_frames", 1) > 1:
        raise _Unusable("image-animated")
    _check_png_colours(_png_chunks(data))
    tags, orientation = _pillow_exif(header)
    pixels = _vips_pixels(pyvips.Image.pngload_buffer(data, fail_on="error"))
    icc, xmp = header.info.get("icc_profile"), _bytes_or_none(header.info.get("xmp"))
    turned = orientation >= 5
    exif = metadata.upright_exif(tags, turned)
    encoding = {"dpi": header.info.get("dpi")}
    return Photo(pixels, icc, exif, metadata.upright_xmp(xmp), "PNG", encoding), orientation


def _check_png_colours(chunks: dict[bytes, bytes]) -> None:
    """Refuses colours that would be taken for sRGB and are not, in the order in which chunks take precedence."""
    coding = chunks.get(b"cICP", b"")[:2]
    if coding[1:] in (bytes([_PQ]), bytes([_HLG])):
        raise _Unusable("image-hdr")
    if b"iCCP" in chunks or coding == _SRGB:
        return
    if coding:
        raise _Unusable("image-without-profile", colours=f"cICP {', '.join(map(str, coding))}")
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 100_000
    if gamma and b"sRGB" not in chunks and abs(2.2 * gamma - 1) > _SAME_GAMMA:
        raise _Unusable("image-without-profile", colours=f"gamma {gamma:.3g}")


def _read_tiff(data: bytes) -> tuple[Photo, int]:
    pages = metadata.tiff_pages(data)
    if not pages:
        raise _Unusable("image-without-pages")
    if len(pages) > 1:
        raise _Unusable("image-of-several-pages", count=len(pages))
    ((place, page),) = pages.items()
    _check_size(int(page[256]), int(page[257]))
    photometric = int(page.get(262, 2))
    if photometric in _OTHER_COLOURS:
        raise _Unusable("image-colours-unsupported", colours=_OTHER_COLOURS[photometric])
    if photometric not in (0, 1, 2, 3, 6):
        raise _Unusable("image-colour-model-unknown")
    # libvips makes premultiplied alpha straight.
    pixels = _vips_pixels(_without_selections(pyvips.Image.tiffload_buffer(data, page=place, fail_on="error"), page))
    orientation = int(page.get(metadata.ORIENTATION, 1))
    tags = metadata.parse_tiff_exif(data, page) or {}
    exif = metadata.upright_exif(tags, orientation >= 5)
    icc = _bytes_or_none(page.get(metadata.TIFF_ICC))
    xmp = metadata.upright_xmp(_bytes_or_none(page.get(metadata.TIFF_XMP)))
    unit = {2: 1.0, 3: 2.54}.get(int(page.get(296, 2)))
    dpi = (float(page[282]) * unit, float(page[283]) * unit) if unit and 282 in page and 283 in page else None
    return Photo(pixels, icc, exif, xmp, "TIFF", {"dpi": dpi}), orientation


def _without_selections(image: Any, page: Any) -> Any:
    """The colours and, when the file calls the first extra channel so, alpha.

    Image editors save selections as further channels; taken for alpha, they would make the photo transparent.
    """
    extra = page.get(_EXTRA_SAMPLES)
    if not extra:
        return image
    return image.extract_band(0, n=image.bands - len(extra) + (extra[0] in _ALPHA))


def _open(data: bytes, kind: Format) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=[kind])


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Unusable("image-too-large", megapixels=_MEGAPIXELS)
    if min(width, height) < MIN_SIDE:
        raise _Unusable("image-too-small", width=width, height=height)


def _from_pillow(picture: ImageFile.ImageFile, kind: Format, encoding: dict[str, Any]) -> tuple[Photo, int]:
    tags, orientation = _pillow_exif(picture)
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    icc, xmp = picture.info.get("icc_profile"), _bytes_or_none(picture.info.get("xmp"))
    exif = metadata.upright_exif(tags, orientation >= 5)
    encoding["dpi"] = picture.info.get("dpi")
    return Photo(pixels, icc, exif, metadata.upright_xmp(xmp), kind, encoding), orientation


def _pillow_exif(picture: ImageFile.ImageFile) -> tuple[dict[int, Any], int]:
    """Tags and orientation, which may be in XMP only; Pillow also finds EXIF that old programs hid in PNG text.

    Without tags and with orientation 1 when they are damaged: the pixels may be good.
    """
    try:
        exif = picture.getexif()
        in_xmp = metadata.xmp_orientation(_bytes_or_none(picture.info.get("xmp")))
        orientation = exif.get(metadata.ORIENTATION, in_xmp)
        block = exif.tobytes() if "exif" not in picture.info else picture.info["exif"]
    except metadata.DAMAGED:
        return {}, 1
    tags = metadata.parse_exif(block) or {}
    return tags, orientation if isinstance(orientation, int) else 1


def _vips_pixels(image: Any) -> NDArray[Any]:
    if image.interpretation == "cmyk":
        raise _Unusable("image-colours-unsupported", colours="CMYK")
    if image.format not in _DTYPES:
        raise _Unusable("image-numbers-unsupported", kind=image.format)
    if image.bands > 4:
        raise _Unusable("image-channels-unsupported", count=image.bands)
    pixels = np.ndarray(
        buffer=image.write_to_memory(), dtype=_DTYPES[image.format], shape=(image.height, image.width, image.bands)
    )
    if pixels.dtype == np.float32 and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise _Unusable("image-hdr")
    return pixels


def _upright(photo: Photo, orientation: int) -> Photo:
    pixels = photo.pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    pixels = np.ascontiguousarray(pixels)
    return Photo(pixels, photo.icc, photo.exif, photo.xmp, photo.format, photo.encoding)


def _riff_chunks(data: bytes) -> set[bytes]:
    kinds, offset = set(), 12
    while offset + 8 <= len(data):
        kinds.add(data[offset : offset + 4])
        offset += 8 + (struct.unpack_from("<L", data, offset + 4)[0] + 1) // 2 * 2
    return kinds


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """What stands before the pixels."""
    chunks, offset = {}, 8
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, offset)
        if kind == b"IDAT":
            break
        chunks[kind] = data[offset + 8 : offset + 8 + size]
        offset += 12 + size
    return chunks


# Writing


def _jpeg(photo: Photo) -> bytes:
    options: dict[str, Any] = {"quality": _JPEG_QUALITY, "subsampling": 0}
    if photo.format == "JPEG" and photo.encoding.get("qtables"):
        tables = {index: [min(step, 255) for step in table] for index, table in photo.encoding["qtables"].items()}
        sampling = photo.encoding.get("subsampling", -1)
        options = {"qtables": tables, "progressive": photo.encoding.get("progressive", False)}
        if photo.pixels.shape[2] == 3:
            options["subsampling"] = sampling if sampling >= 0 else 0
    with _room_for_noise(photo):
        return _pillow(photo, "JPEG", options | {"optimize": True})


@contextmanager
def _room_for_noise(photo: Photo) -> Iterator[None]:
    """Pillow wants an optimised JPEG to fit into two bytes a pixel; fine noise in the best quality does not.

    No coefficient takes more than two bytes on average, whatever the picture. Others who see the larger block meanwhile
    only get more room than they need; who restored it too early would take it from a second writer.
    """
    room = 2 * photo.pixels.size + sum(len(block or b"") for block in (photo.icc, photo.exif, photo.xmp))
    with _WRITING_JPEG:
        usual = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK += room
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = usual


def _webp(photo: Photo) -> bytes:
    if photo.format == "WEBP" and not photo.encoding.get("lossless", True):
        return _pillow(photo, "WEBP", {"quality": _WEBP_QUALITY})
    # Effort 0 is a second on 24 megapixels where the best takes a minute; "exact" keeps colour under transparency.
    return _pillow(photo, "WEBP", {"lossless": True, "quality": 0, "method": 0, "exact": True})


def _pillow(photo: Photo, kind: Format, options: dict[str, Any]) -> bytes:
    blocks = {"icc_profile": photo.icc, "exif": photo.exif, "xmp": photo.xmp}
    if kind == "JPEG":
        blocks["dpi"] = photo.encoding.get("dpi")
    pixels = np.ascontiguousarray(photo.pixels)
    if pixels.shape[2] == 2:
        picture = Image.fromarray(pixels, "LA")
    else:
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if kind == "WEBP" and pixels.shape[2] < 3:
        picture = picture.convert("RGB" if pixels.shape[2] == 1 else "RGBA")
    stream = io.BytesIO()
    picture.save(stream, kind, **options, **{name: block for name, block in blocks.items() if block})
    return stream.getvalue()


def _png(photo: Photo) -> bytes:
    depth = photo.pixels.dtype.itemsize * 8
    # This filter and level are three times faster than the defaults for 3 % more bytes.
    data: bytes = _vips(photo).pngsave_buffer(bitdepth=depth, compression=3, filter="sub", keep="none")
    return metadata.into_png(data, photo.exif, photo.xmp, photo.icc)


def _tiff(photo: Photo) -> bytes:
    predictor = "float" if photo.pixels.dtype == np.float32 else "horizontal"
    data: bytes = _vips(photo).tiffsave_buffer(compression="deflate", predictor=predictor, level=3, keep="none")
    return metadata.into_tiff(data, photo.exif, photo.xmp, photo.icc)


def _vips(photo: Photo) -> Any:
    pixels = np.ascontiguousarray(photo.pixels)
    names = {np.dtype(kind): name for name, kind in _DTYPES.items()}
    image = pyvips.Image.new_from_memory(pixels.data, photo.width, photo.height, pixels.shape[2], names[pixels.dtype])
    grey, deep = pixels.shape[2] < 3, pixels.dtype == np.uint16
    labels = {(True, False): "b-w", (True, True): "grey16", (False, False): "srgb", (False, True): "rgb16"}
    dpi = photo.encoding.get("dpi") or (72.0, 72.0)
    return image.copy(interpretation=labels[grey, deep], xres=float(dpi[0]) / 25.4, yres=float(dpi[1]) / 25.4)


# Sentences


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".")[:160] if lines else type(error).__name__


def _bytes_or_none(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, (bytes, bytearray, tuple)) and value else None
