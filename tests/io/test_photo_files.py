"""Photos survive being read and written: pixels, profile, EXIF, XMP; and every bad file gets one clear sentence."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin
from PIL.ExifTags import IFD, Base

from c2p_core.errors import BadRequest, CannotWrite, Message, UnreadableImage
from c2p_core.io import colour_profiles, exif, photo_files, xmp
from c2p_core.io.encode import encode
from c2p_core.photo import Photo
from tests.error_assertions import raising, sentence
from tests.orientations import UPRIGHT

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6" dc:title="portrait"/></x:xmpmeta>'


def exif_block(orientation: int = 1, thumbnail: bool = False, note: bytes = b"note") -> bytes:
    exif = Image.Exif()
    exif[Base.Make] = "Camera maker"
    exif[Base.Orientation] = orientation
    exif[Base.Copyright] = "Somebody"
    exif[IFD.Exif] = {Base.ExposureTime: 0.005, Base.MakerNote: note, Base.ExifImageWidth: 48, Base.ExifImageHeight: 32}
    exif[IFD.GPSInfo] = {1: "N", 2: (47.0, 22.0, 30.0)}
    block = exif.tobytes()
    if not thumbnail:
        return block
    # The next-directory pointer of the main directory leads to a thumbnail directory.
    tiff = bytearray(block[6:])
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "L", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, first)
    struct.pack_into(order + "L", tiff, first + 2 + 12 * count, len(tiff))
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(jpeg, "JPEG")
    at = len(tiff) + 2 + 2 * 12 + 4
    size = len(jpeg.getvalue())
    tiff += struct.pack(order + "HHHLLHHLLL", 2, 0x201, 4, 1, at, 0x202, 4, 1, size, 0) + jpeg.getvalue()
    return block[:6] + bytes(tiff)


def pixels(channels: int = 3, dtype: Any = np.uint8, height: int = 32, width: int = 48) -> NDArray[Any]:
    values = np.random.default_rng(0).random((height, width, channels))
    return values.astype(np.float32) if dtype == np.float32 else (values * np.iinfo(dtype).max).astype(dtype)


def read_exif(photo: Photo) -> Image.Exif:
    assert photo.exif is not None
    exif = Image.Exif()
    exif.load(photo.exif)
    return exif


def read_cleaned_tag(block: bytes, tag: int) -> bytes | None:
    """A tag of the EXIF directory of a block once pictures are out of it."""
    found = exif.find(exif.clean_exif(block), IFD.Exif, tag)
    return found.value if found else None


def pictures(dtype: Any, channels: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    shape = st.tuples(st.integers(16, 40), st.integers(16, 40), st.sampled_from(channels))
    elements = {"min_value": 0, "max_value": 1} if dtype == np.float32 else None
    return shape.flatmap(lambda size: npst.arrays(dtype, size, elements=elements))


LOSSLESS = [
    (".png", np.uint8, (1, 2, 3, 4)),
    (".png", np.uint16, (1, 2, 3, 4)),
    (".tif", np.uint8, (1, 2, 3, 4)),
    (".tif", np.uint16, (1, 2, 3, 4)),
    (".tif", np.float32, (1, 2, 3, 4)),
    (".webp", np.uint8, (3, 4)),
]


@pytest.mark.parametrize(("ending", "dtype", "channels"), LOSSLESS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lossless_formats_give_the_same_pixels_back(
    tmp_path: Path, ending: str, dtype: Any, channels: tuple[int, ...], data: st.DataObject
) -> None:
    original = data.draw(pictures(dtype, channels))
    photo_files.write(tmp_path / f"a{ending}", Photo(original))
    back = photo_files.read(tmp_path / f"a{ending}").pixels
    assert back.dtype == original.dtype
    if ending == ".webp" and original.shape[2] == 4 and back.shape[2] == 3:
        # WebP drops an alpha channel that is opaque everywhere.
        assert (original[..., 3] == 255).all()
        original = original[..., :3]
    assert np.array_equal(back, original)


@pytest.mark.parametrize("name", ["a.png", "deep.png", "a.tif", "deep.tif", "a.jpg", "a.webp"])
def test_profile_exif_and_xmp_survive(tmp_path: Path, name: str) -> None:
    dtype = np.uint16 if name.startswith("deep") else np.uint8
    photo_files.write(tmp_path / name, Photo(pixels(dtype=dtype), ICC, exif_block(), XMP))
    once = photo_files.read(tmp_path / name)
    photo_files.write(tmp_path / name, once)
    back = photo_files.read(tmp_path / name)
    assert back.icc == ICC
    assert back.xmp is not None and b"portrait" in back.xmp
    exif = read_exif(back)
    assert exif[Base.Make] == "Camera maker"
    details = exif.get_ifd(IFD.Exif)
    assert float(details[Base.ExposureTime]) == pytest.approx(0.005)
    assert details[Base.MakerNote] == b"note"
    assert exif.get_ifd(IFD.GPSInfo)[1] == "N"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
def test_another_reader_sees_the_exif_that_was_written(tmp_path: Path, name: str) -> None:
    photo_files.write(tmp_path / name, Photo(pixels(), ICC, exif_block(), XMP))
    with Image.open(tmp_path / name) as picture:
        assert picture.getexif()[Base.Copyright] == "Somebody"
        assert picture.getexif().get_ifd(IFD.Exif)[Base.MakerNote] == b"note"
        assert picture.info["icc_profile"] == ICC
        picture.load()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_the_pixels_once(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = (250, 0, 0)
    stored[:16, 24:] = (0, 250, 0)
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(stored).save(tmp_path / "a", kind, exif=exif_block(orientation), **options)
    photo = photo_files.read(tmp_path / "a")
    with Image.open(tmp_path / "a") as picture:
        decoded = picture.convert("RGB") if kind == "JPEG" else Image.fromarray(stored)
    expected = np.asarray(decoded.transpose(UPRIGHT[orientation]) if orientation > 1 else decoded)
    assert np.array_equal(photo.pixels, expected)
    assert read_exif(photo)[Base.Orientation] == 1
    details = read_exif(photo).get_ifd(IFD.Exif)
    assert (details[Base.ExifImageWidth], details[Base.ExifImageHeight]) == (photo.width, photo.height)
    photo_files.write(tmp_path / "b.png", photo)
    assert np.array_equal(photo_files.read(tmp_path / "b.png").pixels, photo.pixels)


def test_orientation_in_xmp_is_reset_too(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif_block(6), xmp=XMP)
    xmp = photo_files.read(tmp_path / "a.jpg").xmp
    assert xmp is not None and b'tiff:Orientation="1"' in xmp


@pytest.mark.parametrize(
    "spelled", [b"<x tiff:Orientation='%d'/>", b'<x tiff:Orientation = "%d"/>', b"<tiff:Orientation>\n%d<"]
)
def test_orientation_in_xmp_alone_is_applied_and_reset_in_every_spelling(tmp_path: Path, spelled: bytes) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", xmp=spelled % 6)
    photo = photo_files.read(tmp_path / "a.jpg")
    assert (photo.width, photo.height, photo.xmp) == (32, 48, spelled % 1)


def test_pictures_of_the_unprotected_face_inside_the_metadata_are_dropped(tmp_path: Path) -> None:
    block = exif_block(thumbnail=True, note=b"preview \xff\xd8\xff\xe0 of the face")
    assert block.count(b"\xff\xd8\xff") == 2
    xmp = b"<x><xmp:Thumbnails><rdf:Alt>base64</rdf:Alt></xmp:Thumbnails><b/></x>"
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=block, xmp=xmp)
    photo = photo_files.read(tmp_path / "a.jpg")
    assert photo.exif is not None and b"\xff\xd8\xff" not in photo.exif
    assert read_exif(photo)[Base.Make] == "Camera maker"
    assert photo.xmp == b"<x><b/></x>"


@pytest.mark.parametrize(
    "picture",
    [
        b"<xap:Thumbnails><rdf:Alt>base64</rdf:Alt></xap:Thumbnails>",
        b'<xmp:Thumbnails\n rdf:parseType="Resource">base64</xmp:Thumbnails >',
        b'<Thumbnails xmlns="http://ns.adobe.com/xap/1.0/">base64</Thumbnails>',
    ],
)
def test_xmp_thumbnails_are_dropped_in_every_spelling(picture: bytes) -> None:
    assert xmp.clean_xmp(b"<x>" + picture + b"<b/></x>") == (b"<x><b/></x>", set())


@pytest.mark.parametrize(
    "start",
    [b"/9j/4AAQ", b"iVBORw0KGgoAAA", b"UklGRiQA", b"data:image/jpeg;base64,/9j/4AAQ", b"data:image/avif;base64,AAAA"],
)
def test_pictures_in_xmp_values_are_emptied(start: bytes) -> None:
    packet = b"<x my:Data='%s+/=' a='b'><our:Data>\n%s\n</our:Data></x>" % (start, start)
    assert xmp.clean_xmp(packet)[0] == b"<x my:Data='' a='b'><our:Data></our:Data></x>"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_xmp_that_could_hide_a_picture_in_another_encoding_is_dropped(encoding: str) -> None:
    packet = "<x><xmp:Thumbnails>é</xmp:Thumbnails></x>".encode(encoding)
    assert xmp.clean_xmp(packet) == (None, {"xmp"})


@pytest.mark.parametrize(
    "note", [b"\x00\xd8\xff\xdb\x00\x84", b"\xfe\xd8\xff\xe1\x12\x34Exif", b"\x00\xd8\xff\xe0\x00\x10"]
)
def test_a_preview_with_a_broken_first_byte_is_dropped_with_its_note(note: bytes) -> None:
    assert read_cleaned_tag(exif_block(note=b"Minolta " + note), Base.MakerNote) is None


def test_a_maker_note_that_is_a_number_is_dropped_and_not_taken_for_a_size() -> None:
    note = struct.pack(">HHL", Base.MakerNote, 1, 4) + b"note"
    number = struct.pack(">HHLL", Base.MakerNote, 4, 1, 1 << 20)
    assert note in exif_block()
    block = exif_block().replace(note, number)
    assert read_cleaned_tag(block, Base.ExposureTime) is not None
    assert read_cleaned_tag(block, Base.MakerNote) is None


def test_small_negative_numbers_in_a_maker_note_are_not_taken_for_a_preview() -> None:
    note = struct.pack("<9h", 0, -40, -31, 0, -40, -37, 0, -40, -32)
    assert read_cleaned_tag(exif_block(note=note), Base.MakerNote) == note


def test_only_the_first_of_several_pictures_in_a_phones_file_is_kept(tmp_path: Path) -> None:
    first, second = Image.fromarray(pixels()), Image.new("RGB", (48, 32), "red")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    photo = photo_files.read(tmp_path / "a.jpg")
    assert photo.format == "JPEG" and photo.encoding["qtables"]
    photo_files.write(tmp_path / "b.jpg", photo)
    with Image.open(tmp_path / "b.jpg") as picture:
        assert picture.format == "JPEG" and getattr(picture, "n_frames", 1) == 1


def test_damaged_exif_does_not_stop_the_photo(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert photo_files.read(tmp_path / "a.png").exif is None


def test_a_jpeg_whose_exif_was_zeroed_is_read_without_it(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00" + bytes(40), dpi=(300, 300))
    assert photo_files.read(tmp_path / "a.jpg").exif is None


def test_a_png_whose_exif_in_text_is_malformed_is_read_without_it(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n  12\nnot hexadecimal")
    Image.fromarray(pixels()).save(tmp_path / "a.png", pnginfo=text)
    assert photo_files.read(tmp_path / "a.png").exif is None


def test_a_png_with_a_large_profile_is_read(tmp_path: Path) -> None:
    large = np.random.default_rng(0).bytes(3 << 20)
    photo_files.write(tmp_path / "a.png", Photo(pixels(), large))
    usual = PngImagePlugin.MAX_TEXT_CHUNK
    assert photo_files.read(tmp_path / "a.png").icc == large
    assert usual == PngImagePlugin.MAX_TEXT_CHUNK


@pytest.mark.parametrize(("quality", "subsampling"), [(60, 2), (90, 0), (97, 1)])
def test_jpeg_is_written_with_its_original_tables(tmp_path: Path, quality: int, subsampling: int) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    photo_files.write(tmp_path / "b.jpg", photo_files.read(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
        assert isinstance(before, JpegImagePlugin.JpegImageFile) and isinstance(after, JpegImagePlugin.JpegImageFile)
        assert after.quantization == before.quantization
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before) == subsampling


def test_jpeg_from_another_format_is_written_at_high_quality_without_subsampling(tmp_path: Path) -> None:
    photo_files.write(tmp_path / "a.jpg", Photo(pixels(), format="PNG"))
    with Image.open(tmp_path / "a.jpg") as picture:
        assert isinstance(picture, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(picture) == 0
        assert max(picture.quantization[0]) <= 13


@pytest.mark.parametrize("progressive", [False, True])
def test_fine_noise_is_written_at_the_best_quality(tmp_path: Path, progressive: bool) -> None:
    black_or_white = np.where(pixels(height=256, width=256) < 128, 0, 255).astype(np.uint8)
    usual = ImageFile.MAXBLOCK
    finest = {"qtables": {0: [1] * 64}, "subsampling": 0, "progressive": progressive}
    photo_files.write(tmp_path / "a.jpg", Photo(black_or_white, format="JPEG", encoding=finest))
    assert np.abs(photo_files.read(tmp_path / "a.jpg").pixels.astype(int) - black_or_white).max() < 8
    assert usual == ImageFile.MAXBLOCK


def test_a_lossless_webp_stays_lossless_and_a_lossy_one_does_not_grow(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "lossless.webp", lossless=True)
    Image.fromarray(pixels()).save(tmp_path / "lossy.webp", quality=80)
    assert photo_files.read(tmp_path / "lossless.webp").encoding["lossless"]
    assert not photo_files.read(tmp_path / "lossy.webp").encoding["lossless"]


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_becomes_colours(tmp_path: Path, transparent: bool) -> None:
    picture = Image.fromarray(pixels()).quantize(8)
    expected = np.asarray(picture.convert("RGB"))
    picture.save(tmp_path / "a.png", **({"transparency": 0} if transparent else {}))
    photo = photo_files.read(tmp_path / "a.png")
    assert photo.pixels.shape[2] == (4 if transparent else 3)
    assert np.array_equal(photo.pixels[..., :3], expected)


def test_resolution_survives_in_tiff_and_jpeg(tmp_path: Path) -> None:
    for name in ("a.tif", "a.jpg", "a.png"):
        Image.fromarray(pixels()).save(tmp_path / name, dpi=(300, 300))
        photo_files.write(tmp_path / name, photo_files.read(tmp_path / name))
        with Image.open(tmp_path / name) as picture:
            assert float(picture.info["dpi"][0]) == pytest.approx(300, abs=0.1)


def test_a_big_tiff_keeps_its_exif(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.tif", exif=exif_block(), big_tiff=True)
    photo = photo_files.read(tmp_path / "a.tif")
    assert np.array_equal(photo.pixels, pixels())
    assert read_exif(photo).get_ifd(IFD.Exif)[Base.MakerNote] == b"note"


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_tiff_is_read(tmp_path: Path, compression: str) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels, pixels())


def test_a_big_endian_tiff_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels(dtype=np.uint16), photometric="rgb", byteorder=">", software="theirs")
    photo = photo_files.read(tmp_path / "a.tif")
    assert np.array_equal(photo.pixels, pixels(dtype=np.uint16))
    assert read_exif(photo)[Base.Software] == "theirs"


def test_premultiplied_alpha_becomes_straight(tmp_path: Path) -> None:
    straight = np.full((32, 48, 4), (200, 100, 50, 128), np.uint8)
    premultiplied = straight.copy()
    premultiplied[..., :3] = np.rint(straight[..., :3] * (128 / 255))
    tifffile.imwrite(tmp_path / "a.tif", premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(photo_files.read(tmp_path / "a.tif").pixels.astype(int) - straight).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "extra", "kept"),
    [
        (4, ["unspecified"], 3),
        (5, ["unspecified", "unspecified"], 3),
        (5, ["unassalpha", "unspecified"], 4),
        (4, ["unassalpha"], 4),
    ],
)
def test_a_saved_selection_is_not_taken_for_transparency(
    tmp_path: Path, dtype: Any, channels: int, extra: list[str], kept: int
) -> None:
    stored = pixels(channels, dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=extra)
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels, stored[..., :kept])


def test_a_selection_saved_with_a_grey_photo_is_not_taken_for_transparency(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", pixels(2), photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"]
    )
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels, pixels(2)[..., :1])


@pytest.mark.parametrize("preview_first", [False, True])
def test_a_tiff_preview_page_is_not_a_second_picture(tmp_path: Path, preview_first: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for preview in (preview_first, not preview_first):
            part = pixels(height=16, width=24) if preview else pixels()
            file.write(part, photometric="rgb", subfiletype=int(preview))
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels, pixels())


# The working view


def test_srgb_view_of_a_photo_without_profile_is_its_values() -> None:
    view = colour_profiles.to_srgb(Photo(pixels(4, np.uint16)))
    assert view.dtype == np.float32 and view.shape == (32, 48, 3)
    assert np.allclose(view, pixels(4, np.uint16)[..., :3] / 65535, atol=1e-6)


def test_srgb_view_of_a_grey_photo_has_three_equal_channels() -> None:
    view = colour_profiles.to_srgb(Photo(pixels(2)))
    assert view.shape[2] == 3 and (view[..., 0] == view[..., 2]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_srgb_view_goes_through_the_profile(dtype: Any) -> None:
    view = colour_profiles.to_srgb(Photo(pixels(dtype=dtype), icc=ICC))
    assert np.abs(view - colour_profiles.to_srgb(Photo(pixels(dtype=dtype)))).max() < 0.012
    assert colour_profiles.profile_warnings(Photo(pixels(dtype=dtype), icc=ICC)) == []


def linear_profile() -> bytes:
    """sRGB's profile with straight lines in place of its curves."""
    profile = bytearray(ICC)
    (count,) = struct.unpack_from(">L", profile, 128)
    for name, at, _ in struct.iter_unpack(">4sLL", profile[132 : 132 + 12 * count]):
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            profile[at : at + 12] = b"curv" + bytes(8)
    return bytes(profile)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_shadows_of_a_16_bit_photo_in_linear_light_show_no_banding(dtype: Any) -> None:
    linear = np.linspace(0, 0.02, 1000).astype(np.float32)
    ramp = linear if dtype == np.float32 else np.rint(linear * 65535).astype(dtype)
    view = colour_profiles.to_srgb(Photo(np.tile(ramp[None, :, None], (16, 1, 3)), icc=linear_profile()))
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert len(np.unique(view[0, :, 0])) > 900
    assert np.abs(view[0, :, 0] - encoded).max() < 0.001


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("icc", "channels"), [(b"nonsense", 3), (ICC, 1)])
def test_an_unusable_profile_is_taken_for_srgb_with_a_warning(icc: bytes, channels: int, dtype: Any) -> None:
    photo = Photo(pixels(channels, dtype), icc=icc)
    assert np.array_equal(colour_profiles.to_srgb(photo), colour_profiles.to_srgb(replace(photo, icc=None)))
    assert colour_profiles.profile_warnings(photo) == [Message("profile-ignored")]


# Bad input


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (48, 32)).save(stream, kind, **options)
    return stream.getvalue()


def noise(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels()).save(stream, kind)
    return stream.getvalue()


def one_pixel() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG")
    return stream.getvalue()


def bomb() -> bytes:
    data = bytearray(noise("PNG"))
    data[16:24] = struct.pack(">LL", 60000, 60000)
    data[29:33] = struct.pack(">L", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def tiff_bomb() -> bytes:
    page = struct.pack("<HHLLHHLL", 256, 4, 1, 60000, 257, 4, 1, 60000)
    return b"II*\x00" + struct.pack("<LH", 8, 2) + page + struct.pack("<L", 0)


def png_with(kind: bytes, body: bytes, **options: Any) -> bytes:
    data = encoded("PNG", **options)
    crc = zlib.crc32(kind + body).to_bytes(4, "big")
    return data[:33] + len(body).to_bytes(4, "big") + kind + body + crc + data[33:]


def two_pages(kind: str) -> bytes:
    stream = io.BytesIO()
    first, second = Image.fromarray(pixels()), Image.new("RGB", (48, 32), "red")
    first.save(stream, kind, save_all=True, append_images=[second])
    return stream.getvalue()


def deep_tiff() -> bytes:
    return encode(Photo(pixels(dtype=np.uint16)), "TIFF").data


BAD: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "empty": (b"", "image-empty", {}),
    "text": (b"hello, I am not a picture", "image-format-unknown", {}),
    "gif": (encoded("GIF"), "image-format-unknown", {}),
    "signature only": (b"\x89PNG\r\n\x1a\n", "image-damaged", {}),
    "cut png": (noise("PNG")[:-900], "image-damaged", {}),
    "cut jpeg": (encoded("JPEG")[:-200], "image-damaged", {}),
    "cut webp": (noise("WEBP")[:-300], "image-damaged", {}),
    "cut tiff": (deep_tiff()[:2000], "image-damaged", {}),
    "one pixel": (one_pixel(), "image-too-small", {"width": 1, "height": 1}),
    "bomb": (bomb(), "image-too-large", {"megapixels": 178}),
    "tiff bomb": (tiff_bomb(), "image-too-large", {"megapixels": 178}),
    "cmyk jpeg": (encoded("JPEG", "CMYK"), "image-colours-unsupported", {"colours": "CMYK"}),
    "cmyk tiff": (encoded("TIFF", "CMYK"), "image-colours-unsupported", {"colours": "CMYK"}),
    "lab tiff": (encoded("TIFF", "LAB"), "image-colours-unsupported", {"colours": "LAB"}),
    "32-bit tiff": (encoded("TIFF", "I"), "image-numbers-unsupported", {}),
    "pq png": (png_with(b"cICP", bytes([9, 16, 0, 1]), icc_profile=ICC), "image-hdr", {}),
    "hlg png": (png_with(b"cICP", bytes([9, 18, 0, 1])), "image-hdr", {}),
    "film png": (png_with(b"cICP", bytes([8, 13, 0, 1])), "image-without-profile", {}),
    "animated png": (two_pages("PNG"), "image-animated", {}),
    "animated webp": (two_pages("WEBP"), "image-animated", {}),
    "two-page tiff": (two_pages("TIFF"), "image-of-several-pages", {"count": 2}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_reported_in_one_sentence_with_its_name(tmp_path: Path, case: str) -> None:
    data, code, fields = BAD[case]
    bad = tmp_path / "bad.png"
    bad.write_bytes(data)
    with raising(UnreadableImage, code, path=str(bad), **fields):
        photo_files.read(bad)
    with pytest.raises(UnreadableImage) as raised:
        photo_files.read(bad)
    sentence = str(raised.value)
    assert "bad.png" in sentence and sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize(
    "data",
    [
        png_with(b"cICP", bytes([1, 13, 0, 1])),
        png_with(b"cICP", bytes([12, 13, 0, 1]), icc_profile=ICC),
        png_with(b"gAMA", struct.pack(">L", 45_455)),
        png_with(b"gAMA", struct.pack(">L", 100_000), icc_profile=ICC),
    ],
)
def test_a_png_in_srgb_or_with_a_profile_is_read_whatever_else_it_says_of_its_colours(
    tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    assert photo_files.read(tmp_path / "a.png").width == 48


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with raising(UnreadableImage, "image-missing", path=str(tmp_path / "nothing.png")):
        photo_files.read(tmp_path / "nothing.png")
    with raising(UnreadableImage, "image-is-folder", path=str(tmp_path)):
        photo_files.read(tmp_path)


def test_a_float_tiff_outside_0_to_1_is_refused(tmp_path: Path) -> None:
    photo_files.write(tmp_path / "a.tif", Photo(pixels(dtype=np.float32) * np.float32(4)))
    with raising(UnreadableImage, "image-hdr"):
        photo_files.read(tmp_path / "a.tif")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "deep"]), data=st.data())
def test_damage_anywhere_gives_either_a_photo_or_one_sentence(tmp_path: Path, case: str, data: st.DataObject) -> None:
    damaged = bytearray(deep_tiff() if case == "deep" else encoded(case, exif=exif_block(6)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(damaged)
    try:
        photo = photo_files.read(tmp_path / "a")
    except UnreadableImage:
        return
    assert photo.pixels.shape[2] in (1, 2, 3, 4)


# Writing


@pytest.mark.parametrize(
    ("name", "photo", "code", "fields"),
    [
        ("a.gif", Photo(pixels()), "ending-unknown", {"name": "a.gif"}),
        ("a", Photo(pixels()), "ending-unknown", {"name": "a"}),
        ("a.jpg", Photo(pixels(4)), "jpeg-without-transparency", {"instead": "a.png"}),
        ("a.jpg", Photo(pixels(dtype=np.uint16)), "format-of-8-bits", {"format": "JPEG", "instead": "a.tif"}),
        ("a.webp", Photo(pixels(dtype=np.uint16)), "format-of-8-bits", {"format": "WEBP", "instead": "a.tif"}),
        ("a.png", Photo(pixels(dtype=np.float32)), "png-without-floats", {"instead": "a.tif"}),
        ("a.webp", Photo(np.zeros((32, 16_384, 3), np.uint8)), "format-too-small", {"most": 16_383, "count": 16_384}),
        ("a.jpg", Photo(np.zeros((65_501, 48, 3), np.uint8)), "format-too-small", {"most": 65_500, "count": 65_501}),
        ("a.jpg", Photo(pixels(), exif=b"Exif\0\0" + bytes(65_528)), "jpeg-metadata-too-long", {"block": "EXIF"}),
        ("a.jpg", Photo(pixels(), xmp=bytes(65_505)), "jpeg-metadata-too-long", {"block": "XMP", "count": 65_505}),
    ],
)
def test_a_format_that_would_lose_something_is_refused(
    tmp_path: Path, name: str, photo: Photo, code: str, fields: dict[str, Any]
) -> None:
    with raising(BadRequest, code, **fields):
        photo_files.write(tmp_path / name, photo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "no-space"), (errno.EROFS, "no-permission"), (errno.EIO, "disk-error")]
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with raising(CannotWrite, "not-written", path=str(target), why=sentence(why)):
        photo_files.write(target, Photo(pixels()))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_device_is_not_taken_for_a_folder() -> None:
    with raising(CannotWrite, "not-written", path="/dev/full/a.png"):
        photo_files.write(Path("/dev/full/a.png"), Photo(pixels()))


def test_a_missing_target_folder_is_named(tmp_path: Path) -> None:
    with raising(CannotWrite, "not-written", why=Message("no-folder")):
        photo_files.write(tmp_path / "nowhere" / "a.png", Photo(pixels()))


def test_a_read_only_target_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    target.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with raising(CannotWrite, "not-written", why=Message("no-permission")):
        photo_files.write(target, Photo(pixels()))
    assert target.read_bytes() == b"old"


def test_a_new_file_follows_the_umask_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        photo_files.write(tmp_path / "new.png", Photo(pixels()))
        (tmp_path / "old.png").touch(mode=0o600)
        photo_files.write(tmp_path / "old.png", Photo(pixels()))
    finally:
        os.umask(previous)
    assert (tmp_path / "new.png").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "old.png").stat().st_mode & 0o777 == 0o600
