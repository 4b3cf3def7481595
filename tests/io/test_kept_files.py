"""A protected copy keeps unchanged pixels, the bytes of metadata, and colours of its original."""

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
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, JpegImagePlugin
from skimage import data

from c2p_core.errors import BadRequest, Message, UnreadableImage
from c2p_core.io import (
    colour_marks,
    colour_profiles,
    exif,
    jpeg_blocks,
    jpeg_file,
    photo_files,
    photoshop,
    png_file,
    riff_file,
    tiff_file,
    xmp,
)
from c2p_core.io.orientation import turn_back, turn_upright
from c2p_core.photo import Photo
from tests.error_assertions import raising

needs_blocks = pytest.mark.skipif(not jpeg_blocks.AVAILABLE, reason="there is no pyjpegio for this machine")
FACE = slice(30, 75), slice(150, 190)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IPTC = b"\x1c\x02\x50\x00\x03Ann\x1c\x02\x74\x00\x0a(c) \xc3\xa9 Ann"


def portrait(height: int = 211, width: int = 317) -> NDArray[np.uint8]:
    """A part of the astronaut whose sides are not multiples of a block."""
    return data.astronaut()[:height, 60 : 60 + width]


def paint(photo: Photo) -> Photo:
    """The photo with a face painted: only pixels of ``FACE`` differ."""
    pixels = photo.pixels.copy()
    high = np.iinfo(pixels.dtype).max
    pixels[FACE] = np.clip(pixels[FACE].astype(int) // 2 + high // 4, 0, high).astype(pixels.dtype)
    return photo.with_pixels(pixels)


def jpeg(picture: NDArray[np.uint8] | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    pixels = portrait() if picture is None else picture
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


def tags(*entries: tuple[int, int, int, bytes], order: str = ">") -> bytes:
    """An EXIF block of one directory: tag, type, count, value."""
    offset = 8 + 2 + 12 * len(entries) + 4
    head, values = b"", b""
    for tag, kind, count, value in entries:
        stored_value = struct.pack(order + "L", offset + len(values)) if len(value) > 4 else value.ljust(4, b"\0")
        values += value if len(value) > 4 else b""
        head += struct.pack(order + "HHL", tag, kind, count) + stored_value
    mark = b"MM\0*" if order == ">" else b"II*\0"
    start = struct.pack(order + "LH", 8, len(entries))
    return exif.HEADER + mark + start + head + bytes(4) + values


def with_segments(file: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments after its first one."""
    parsed = jpeg_file.parse(file)
    added = [jpeg_file.Segment(marker, body) for marker, body in segments]
    return jpeg_file.compose([parsed.segments[0], *added, *parsed.segments[1:]], parsed.scans)


def protect(folder: Path, file: bytes, name: str, target: str | None = None, **options: Any) -> tuple[bytes, list[str]]:
    """A file with its face painted, and the codes of all messages."""
    (folder / name).write_bytes(file)
    out = folder / (target or f"out{Path(name).suffix}")
    messages = photo_files.write(out, paint(photo_files.read(folder / name)), **options)
    parts = [part.code for message in messages for part in message.fields.get("parts", ())]
    codes = [message.code for message in messages if jpeg_blocks.AVAILABLE or message.code != "jpeg-encoded-anew"]
    return out.read_bytes(), codes + parts


def stored(file: bytes) -> NDArray[np.uint8]:
    """Pixels as another program decodes them, not turned."""
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture)


# Pixels beside the face


@needs_blocks
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("options", "unit", "spread"),
    [
        ({"subsampling": 0, "quality": 92}, 8, 0),
        ({"subsampling": 2, "quality": 80}, 16, 1),
        ({"subsampling": 1, "quality": 85, "progressive": True}, 16, 1),
    ],
)
def test_pixels_of_a_jpeg_beside_the_changed_blocks_are_identical(
    tmp_path: Path, options: dict[str, Any], unit: int, spread: int, orientation: int
) -> None:
    # Decoders interpolate subsampled colour across the border of a block: ``spread`` pixels.
    file = jpeg(exif=exif.make_block(orientation), **options)
    out, codes = protect(tmp_path, file, "a.jpg")
    before, after = stored(file), stored(out)
    changed = np.zeros((320, 320), bool)
    face = np.zeros(turn_upright(before, orientation).shape[:2], bool)
    face[FACE] = True
    face = turn_back(face[..., None], orientation)[..., 0]
    changed[: face.shape[0], : face.shape[1]] = face
    blocks = changed.reshape(320 // unit, unit, 320 // unit, unit).any(axis=(1, 3)).repeat(unit, 0).repeat(unit, 1)
    near = blocks
    for axis in (0, 1):
        near = np.any([np.roll(near, step, axis) for step in range(-spread, spread + 1)], axis=0)
    near = near[: before.shape[0], : before.shape[1]]
    assert codes == []
    assert np.array_equal(before[~near], after[~near])
    expected = turn_back(paint(photo_files.read(tmp_path / "a.jpg")).pixels, orientation)
    assert np.abs(after[face].astype(int) - expected[face]).mean() < 4
    assert abs(len(out) - len(file)) < 0.1 * len(file)


@needs_blocks
@pytest.mark.parametrize("grey", [False, True])
def test_coefficients_of_a_jpeg_that_nothing_changes_stay(tmp_path: Path, grey: bool) -> None:
    import jpegio

    file = jpeg(portrait()[..., :1] if grey else None, quality=70)
    (tmp_path / "a.jpg").write_bytes(file)
    photo_files.write(tmp_path / "b.jpg", photo_files.read(tmp_path / "a.jpg"))
    before, after = (jpegio.read(tmp_path / name).coef_arrays for name in ("a.jpg", "b.jpg"))
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_jpeg_whose_blocks_cannot_be_kept_is_reencoded_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg_blocks, "AVAILABLE", False)
    file = with_segments(jpeg(exif=exif.make_block(6), quality=85), (0xFE, b"by Ann"))
    (tmp_path / "a.jpg").write_bytes(file)
    photo = paint(photo_files.read(tmp_path / "a.jpg"))
    messages = photo_files.write(tmp_path / "b.jpg", photo)
    assert messages == (Message("jpeg-encoded-anew", why=Message("jpeg-library-missing")),)
    back = photo_files.read(tmp_path / "b.jpg")
    assert np.abs(back.pixels.astype(int) - photo.pixels).mean() < 3
    with Image.open(tmp_path / "a.jpg") as one, Image.open(tmp_path / "b.jpg") as other:
        assert isinstance(one, JpegImagePlugin.JpegImageFile) and isinstance(other, JpegImagePlugin.JpegImageFile)
        assert other.quantization == one.quantization and other.info["comment"] == b"by Ann"


@needs_blocks
def test_pixels_of_another_size_are_not_put_into_the_blocks_of_the_original(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    photo = photo_files.read(tmp_path / "a.jpg")
    (message,) = photo_files.write(tmp_path / "b.jpg", replace(photo, pixels=photo.pixels[:100]))
    assert message.code == "jpeg-encoded-anew" and photo_files.read(tmp_path / "b.jpg").height == 100


@pytest.mark.parametrize("ending", [".webp", ".avif"])
def test_a_lossy_format_that_changes_other_pixels_gives_a_warning(tmp_path: Path, ending: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, ending[1:].upper(), quality=80)
    assert protect(tmp_path, stream.getvalue(), f"a{ending}")[1] == ["lossy-encoded-anew"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turn_back_inverts_turn_upright(orientation: int) -> None:
    assert np.array_equal(turn_back(turn_upright(portrait(), orientation), orientation), portrait())


# Metadata by their bytes

NOTE = bytes(range(200))
ARTIST = "José Müller \N{CAMERA}".encode() + b"\0"
ENTRIES = (
    (0x010E, 2, 10, b"\xe5\xae\x87 \xff\xfe b\0\0"),
    (0x0112, 3, 1, b"\0\x06"),
    (0x013B, 2, len(ARTIST), ARTIST),
    (0x4746, 4, 1, b"\0\0\0\x04"),  # a long where the standard says short
    (0x9C9B, 1, 6, b"T\0\xef\0\0\0"),
    (0xC4A5, 7, len(NOTE), NOTE),  # an unknown tag
)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_keeps_every_byte(tmp_path: Path, kind: str) -> None:
    block = tags(*ENTRIES)
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, kind, exif=block)
    out, _ = protect(tmp_path, stream.getvalue(), f"a.{kind.lower()}".replace("jpeg", "jpg"))
    assert block.removeprefix(exif.HEADER) in out


def test_tags_of_a_tiff_keep_their_types_and_values(tmp_path: Path) -> None:
    extra = [
        (315, 2, len(ARTIST) - 1, ARTIST[:-1], True),
        (33723, 7, len(IPTC), IPTC, True),
        (50000, 7, len(NOTE), NOTE, True),
        (318, 5, 2, (3127, 10000, 329, 1000), True),
    ]
    tifffile.imwrite(tmp_path / "a.tif", portrait(), photometric="rgb", byteorder=">", extratags=extra, metadata=None)
    out, codes = protect(tmp_path, (tmp_path / "a.tif").read_bytes(), "a.tif")
    (page,) = tiff_file.read_pages(out)
    assert codes == []
    for tag, value in ((315, ARTIST), (33723, IPTC), (50000, NOTE)):
        assert page.value(tag) == value
    assert page.value(318) == struct.pack("<4L", 3127, 10000, 329, 1000)


def test_iptc_photoshop_settings_comments_and_unknown_segments_stay_in_a_jpeg(tmp_path: Path) -> None:
    path = b"8BIM\x07\xd0\x03one\0\0\0\x04path"
    block = photoshop.wrap_iptc(IPTC) + path
    kept = [(0xED, b"Photoshop 3.0\0" + block), (0xFE, "© Ann".encode()), (0xFE, b"second"), (0xEC, b"Ducky\0\x01")]
    out, codes = protect(tmp_path, with_segments(jpeg(), *kept), "a.jpg")
    assert codes == []
    metadata = [(s.marker, s.body) for s in jpeg_file.parse(out).segments if jpeg_file.is_metadata(s)]
    assert [entry for entry in metadata if entry[0] != 0xE0] == kept


def test_thumbnails_in_jfif_and_photoshop_blocks_are_removed(tmp_path: Path) -> None:
    thumbnail = b"8BIM\x04\x0c\0\0\0\0\0\x04" + b"\xff\xd8\xff\xe0"
    file = jpeg_file.parse(with_segments(jpeg(), (0xED, b"Photoshop 3.0\0" + thumbnail + photoshop.wrap_iptc(IPTC))))
    first = jpeg_file.Segment(0xE0, file.segments[0].body[:12] + b"\1\1\xaa\xbb\xcc")
    out, _ = protect(tmp_path, jpeg_file.compose([first, *file.segments[1:]], file.scans), "a.jpg")
    result = jpeg_file.parse(out)
    assert result.segments[0].body == file.segments[0].body[:12] + b"\0\0"
    assert jpeg_file.read_resources(result) == photoshop.wrap_iptc(IPTC)


def png_with(*chunks: tuple[bytes, bytes], after: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, "PNG")
    plain = png_file.parse(stream.getvalue())
    groups = [[png_file.Chunk(*chunk) for chunk in group] for group in (chunks, after)]
    return png_file.compose([plain[0], *groups[0], *plain[1:-1], *groups[1], plain[-1]])


def test_texts_colours_and_what_may_be_copied_stay_in_a_png_where_they_were(tmp_path: Path) -> None:
    before = (
        (b"gAMA", struct.pack(">L", 45_455)),
        (b"cHRM", struct.pack(">8L", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (b"pHYs", struct.pack(">LLB", 3, 2, 0)),
        (b"tEXt", b"Copyright\0\xa9 Ann"),
        (b"iTXt", b"parameters\0\0\0\0\0no AI training \xc3\xa9"),
        (b"tIME", struct.pack(">H5B", 2026, 5, 4, 3, 2, 1)),
        (b"prVt", b"private, safe to copy"),
    )
    after = (
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta dc:rights='Ann'/>"),
        (b"zTXt", b"a\0\0" + zlib.compress(b"b")),
    )
    out, codes = protect(tmp_path, png_with(*before, after=after), "a.png")
    chunks = [(chunk.kind, chunk.body) for chunk in png_file.parse(out)]
    kinds = [kind for kind, _ in chunks]
    assert codes == []
    assert tuple(chunks[1 : kinds.index(b"IDAT")]) == before
    assert tuple(chunks[len(kinds) - 1 - kinds[::-1].index(b"IDAT") + 1 : -1]) == after


def test_chunks_that_are_valid_for_the_original_pixels_only_are_dropped_and_reported(tmp_path: Path) -> None:
    out, codes = protect(tmp_path, png_with((b"prVW", b"preview"), (b"caBX", b"claim")), "a.png")
    assert {chunk.kind for chunk in png_file.parse(out)} == {b"IHDR", b"IDAT", b"IEND"}
    assert codes == ["parts-not-kept", "part-credentials", "part-further-data"]


def test_unknown_chunks_and_the_profile_stay_in_a_webp(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, "WEBP", lossless=True, icc_profile=ICC, xmp=b"<x/>")
    chunks = riff_file.parse(stream.getvalue())
    metadata = [chunk for chunk in chunks if chunk.kind in (b"ICCP", b"XMP ")]
    file = riff_file.compose(stream.getvalue(), 317, 211, False, [*metadata, riff_file.Chunk(b"note", b"odd")])
    out, codes = protect(tmp_path, file, "a.webp")
    assert codes == []
    assert [chunk for chunk in riff_file.parse(out) if chunk.kind not in (b"VP8X", b"VP8L")] == [
        *metadata,
        riff_file.Chunk(b"note", b"odd"),
    ]
    assert np.array_equal(np.delete(stored(out), np.s_[150:190], 1), np.delete(portrait(), np.s_[150:190], 1))


# Lost parts, and the messages on them


def test_a_thumbnail_is_removed_without_trace_and_everything_else_keeps_its_offset() -> None:
    picture = jpeg(portrait(16, 16))
    block = bytearray(tags((0x010F, 2, 8, b"Maker co"), (0x8769, 4, 1, bytes(4))))
    start = len(block) - len(exif.HEADER)
    block += struct.pack(">HHHLLHHLLL", 2, 0x201, 4, 1, start + 30, 0x202, 4, 1, len(picture), 0) + picture
    struct.pack_into(">L", block, len(exif.HEADER) + 8 + 2 + 24, start)
    cleaned = exif.clean_exif(bytes(block))
    assert cleaned is not None
    kept = block[: len(exif.HEADER) + start]
    struct.pack_into(">L", kept, len(exif.HEADER) + 8 + 2 + 24, 0)
    assert cleaned == bytes(kept)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("note", "is_removed"), [(b"preview \xff\xd8\xff\xe0", True), (NOTE, False)])
def test_maker_notes_with_a_preview_are_removed_and_reported(
    tmp_path: Path, kind: str, note: bytes, is_removed: bool
) -> None:
    block = Image.Exif()
    block[0x010F] = "Maker"  # Pillow writes no block without one
    block.get_ifd(0x8769)[0x927C] = note
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, kind, exif=block.tobytes(), lossless=True)
    for target in (None, "b.png", "b.jpg"):
        out, codes = protect(tmp_path, stream.getvalue(), f"a.{kind.lower()}", target)
        assert codes == (["parts-not-kept", "part-maker-notes"] if is_removed else [])
        assert (note in out) != is_removed
    assert protect(tmp_path, stream.getvalue(), f"a.{kind.lower()}", personal=False)[1] == []


GAIN_MAP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmlns:gm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    b' xmlns:Item="http://ns.google.com/photos/1.0/container/item/" dc:title="t" gm:Version="1.0">'
    b'<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic="GainMap" Item:Length="9"/></rdf:li>'
    b"</rdf:Seq>"
    b"</Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def test_nothing_announces_a_gain_map_that_is_gone(tmp_path: Path) -> None:
    segments = (
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + GAIN_MAP),
        (0xE2, b"MPF\0II*\0"),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"),
    )
    out, codes = protect(tmp_path, with_segments(jpeg(), *segments) + jpeg(portrait(16, 16)), "a.jpg")
    assert codes == ["parts-not-kept", "part-gain-map"]
    file = jpeg_file.parse(out)
    assert file.trailer == b"" and not any(s.marker == 0xE2 for s in file.segments)
    assert jpeg_file.read_xmp(file) == (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="t"></rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def test_nothing_announces_the_video_of_a_motion_photo(tmp_path: Path) -> None:
    packet = b'<x><d GCamera:MotionPhoto="1" GCamera:MicroVideoOffset="9" GCamera:BurstID="b"/></x>'
    file = with_segments(jpeg(), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)) + b"\0\0\0\x18ftypmp42" + bytes(20)
    out, codes = protect(tmp_path, file, "a.jpg")
    assert codes == ["parts-not-kept", "part-video"]
    assert jpeg_file.read_xmp(jpeg_file.parse(out)) == b'<x><d GCamera:BurstID="b"/></x>'


def test_content_credentials_of_the_original_are_removed_and_reported(tmp_path: Path) -> None:
    out, codes = protect(tmp_path, with_segments(jpeg(), (0xEB, b"JP\0\1\0\0\0\1\0\0\0\0jumbc2pa")), "a.jpg")
    assert codes == ["parts-not-kept", "part-credentials"] and b"c2pa" not in out


def test_further_pictures_in_a_phones_file_are_removed_and_reported(tmp_path: Path) -> None:
    first, second = (Image.fromarray(portrait()) for _ in range(2))
    first.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[second])
    assert photo_files.ending_for(tmp_path / "a.mpo") == ".jpg"
    out, codes = protect(tmp_path, (tmp_path / "a.mpo").read_bytes(), "a.mpo", "out.jpg")
    assert codes == ["parts-not-kept", "part-pictures"]
    assert b"MPF\0" not in out and out.endswith(b"\xff\xd9") and jpeg_file.parse(out).trailer == b""


def test_layers_of_an_image_editor_are_removed_from_a_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", portrait(), photometric="rgb", extratags=[(37724, 7, 9, b"Adobe lay", True)])
    out, codes = protect(tmp_path, (tmp_path / "a.tif").read_bytes(), "a.tif")
    assert codes == ["parts-not-kept", "part-layers"] and b"Adobe lay" not in out


# XMP


def extended(name: bytes, packet: bytes, size: int = 1000) -> list[tuple[int, bytes]]:
    head = b"http://ns.adobe.com/xmp/extension/\0" + name
    return [
        (0xE1, head + struct.pack(">LL", len(packet), at) + packet[at : at + size])
        for at in range(0, len(packet), size)
    ]


def test_extended_xmp_stays_in_a_jpeg_and_is_joined_for_other_formats(tmp_path: Path) -> None:
    name = b"0123456789ABCDEF" * 2
    main = b"<x><rdf:RDF><rdf:Description xmpNote:HasExtendedXMP='%s' a='1'/></rdf:RDF></x>" % name
    more = b"<x><rdf:RDF><rdf:Description dc:rights='%s'/></rdf:RDF></x>" % (b"r" * 3000)
    segments = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main), *extended(name, more)]
    file = with_segments(jpeg(), *segments)
    out, codes = protect(tmp_path, file, "a.jpg")
    assert codes == []
    assert [(s.marker, s.body) for s in jpeg_file.parse(out).segments if s.marker == 0xE1] == segments
    other, _ = protect(tmp_path, file, "a.jpg", "b.png")
    joined = png_file.read_xmp(png_file.parse(other))
    assert joined is not None and joined.count(b"<rdf:RDF>") == 1
    assert b"a='1'" in joined and b"r" * 3000 in joined and b"HasExtendedXMP" not in joined


def test_a_picture_in_extended_xmp_is_removed_and_the_rest_announced_again(tmp_path: Path) -> None:
    name = b"0123456789ABCDEF" * 2
    main = b"<x><rdf:RDF><rdf:Description xmpNote:HasExtendedXMP='%s'/></rdf:RDF></x>" % name
    more = b"<x><rdf:RDF><rdf:Description GImage:Data='/9j/AAAA' dc:rights='Ann'/></rdf:RDF></x>"
    segments = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main), *extended(name, more)]
    out, codes = protect(tmp_path, with_segments(jpeg(), *segments), "a.jpg")
    joined = jpeg_file.read_xmp(jpeg_file.parse(out))
    assert codes == ["parts-not-kept", "part-pictures"]
    assert joined is not None and b"dc:rights='Ann'" in joined and b"GImage" not in joined
    assert name not in out


def test_thousands_of_spaces_in_a_packet_take_no_time() -> None:
    packet = b"<x GCamera:MotionPhoto='1' mwg-rs:a='b'/>" + b" " * 100_000
    assert xmp.clean_xmp(packet)[1] == {"video"}
    assert xmp.strip_personal(packet).rstrip() == b"<x GCamera:MotionPhoto='1'/>"


REGION = (
    b"<x><mwg-rs:RegionList><rdf:li mwg-rs:Name='Eileen'><mwg-rs:Area stArea:x='0.25' stArea:y='0.5' stArea:w='0.1'"
    b" stArea:h='0.2' stArea:unit='normalized'/></rdf:li></mwg-rs:RegionList>"
    b"<mwg-rs:AppliedToDimensions stDim:w='317' stDim:h='211'/><d MPReg:Rectangle='0.2, 0.4, 0.1, 0.2'"
    b" tiff:Orientation='6'/></x>"
)


def test_face_regions_fit_the_pixels_in_the_same_and_in_another_format(tmp_path: Path) -> None:
    details = tags(
        (0xA002, 4, 1, struct.pack(">L", 317)),
        (0xA003, 3, 1, b"\0\xd3"),
        (0x9214, 3, 4, bytes([0, 79, 0, 105, 0, 10, 0, 20])),
    )
    block = tags((0x0112, 3, 1, b"\0\6"), (0x8769, 4, 1, struct.pack(">L", 38)))
    inner = details.removeprefix(exif.HEADER)[8:]
    # The values' offset in the inner directory moves with it.
    inner = inner.replace(struct.pack(">L", 50), struct.pack(">L", 38 + 42))
    file = jpeg(exif=block + inner, xmp=REGION)
    out, _ = protect(tmp_path, file, "a.jpg")
    assert jpeg_file.read_xmp(jpeg_file.parse(out)) == REGION
    assert jpeg_file.read_exif(jpeg_file.parse(out)) == block + inner
    other, _ = protect(tmp_path, file, "a.jpg", "b.png")
    chunks = png_file.parse(other)
    packet, turned = png_file.read_xmp(chunks), png_file.read_exif(chunks)
    assert packet is not None
    assert b"stArea:x='0.5' stArea:y='0.25' stArea:w='0.2' stArea:h='0.1'" in packet
    assert b"stDim:w='211' stDim:h='317'" in packet and b"MPReg:Rectangle='0.4, 0.2, 0.2, 0.1'" in packet
    assert b"tiff:Orientation='1'" in packet
    values = {tag: exif.find(turned, 0x8769, tag) for tag in (0xA002, 0xA003, 0x9214)}
    form = exif.Form(">")
    assert {tag: entry.numbers(form) for tag, entry in values.items() if entry} == {
        0xA002: (211,),
        0xA003: (317,),
        0x9214: (211 - 105, 79, 20, 10),
    }
    assert exif.read_orientation(turned) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_personal_data_are_removed_if_asked(tmp_path: Path, kind: str) -> None:
    block = tags((0x010F, 2, 6, b"Maker\0"), (0x013B, 2, len(ARTIST), ARTIST), (0x8298, 2, 6, b"(c) A\0"))
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, kind, exif=block, **({} if kind == "TIFF" else {"xmp": REGION}))
    name = f"a.{kind.lower()}"
    out, _ = protect(tmp_path, stream.getvalue(), name, personal=False)
    back = photo_files.read(tmp_path / f"out{Path(name).suffix}")
    assert ARTIST not in out and b"Eileen" not in out
    assert exif.find(back.exif, 0, 0x013B) is None
    maker, rights = exif.find(back.exif, 0, 0x010F), exif.find(back.exif, 0, 0x8298)
    assert maker is not None and maker.value == b"Maker\0" and rights is not None and rights.value == b"(c) A\0"


def test_unknown_data_are_removed_with_personal_data(tmp_path: Path) -> None:
    gopro, ducky = (0xE6, b"GoPro\0DVIDCAM 0123"), (0xEC, b"Ducky\0\1\0\4\0\0\0\x3c\0\0")
    block = tags((700, 1, 8, b"<x>Ann  "), (0x010F, 2, 6, b"Maker\0"), (0xFDE9, 2, 5, b"0123\0"))
    file = with_segments(jpeg(), (0xE1, block), gopro, ducky)
    out, codes = protect(tmp_path, file, "a.jpg", personal=False)
    assert b"0123" not in out and b"Ann" not in out and b"Ducky" in out and b"Maker" in out and codes == []
    out, _ = protect(tmp_path, file, "a.jpg")
    assert b"CAM 0123" in out and b"Ann" in out
    out, codes = protect(tmp_path, png_with((b"prVt", b"0123")), "a.png", personal=False)
    assert b"0123" not in out and codes == []


# Colours


def dcf_block(option: bytes) -> bytes:
    """An EXIF block as cameras mark Adobe RGB: uncalibrated, with an option of the interoperability directory."""
    main = struct.pack(">HHHLLL", 1, 0x8769, 4, 1, 26, 0)
    details = struct.pack(">HHHLHHHHLLL", 2, 0xA001, 3, 1, 0xFFFF, 0, 0xA005, 4, 1, 56, 0)
    interop = struct.pack(">HHHL4sL", 1, 1, 2, 4, option, 0)
    return exif.HEADER + b"MM\0*\0\0\0\x08" + main + details + interop


@pytest.mark.parametrize(("option", "adobe"), [(b"R03\0", True), (b"R98\0", False)])
def test_adobe_rgb_of_a_dcf_option_file_is_recognised_and_its_mark_kept(
    tmp_path: Path, option: bytes, adobe: bool
) -> None:
    file = jpeg(np.full((64, 200, 3), (200, 100, 50), np.uint8), quality=100, exif=dcf_block(option))
    out, _ = protect(tmp_path, file, "a.jpg")
    photo = photo_files.read(tmp_path / "out.jpg")
    red = float(colour_profiles.to_srgb(photo)[0, 0, 0] * 255)
    assert red == pytest.approx(227 if adobe else 200, abs=2)
    assert dcf_block(option) in out and b"ICC_PROFILE" not in out
    other, _ = protect(tmp_path, file, "a.jpg", "b.png")
    assert (b"iCCP" in other) == adobe


@pytest.mark.parametrize(
    ("marks", "red"),
    [
        ([(b"cICP", bytes([12, 13, 0, 1]))], 215),  # Display P3
        ([(b"cHRM", struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))], 215),
        ([(b"gAMA", struct.pack(">L", 100_000))], 229),  # linear light
        ([(b"gAMA", struct.pack(">L", 45_455)), (b"sRGB", b"\0")], 200),
        ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">L", 100_000))], 200),
    ],
)
def test_colours_that_a_png_declares_without_a_profile_are_respected(
    tmp_path: Path, marks: list[tuple[bytes, bytes]], red: int
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (240, 100), (200, 100, 50)).save(stream, "PNG")
    plain = png_file.parse(stream.getvalue())
    file = png_file.compose([plain[0], *(png_file.Chunk(*mark) for mark in marks), *plain[1:]])
    (tmp_path / "a.png").write_bytes(file)
    shown = colour_profiles.to_srgb(photo_files.read(tmp_path / "a.png"))[0, 0, 0] * 255
    assert float(shown) == pytest.approx(red, abs=1.5)
    out, _ = protect(tmp_path, file, "a.png")
    assert [(c.kind, c.body) for c in png_file.parse(out) if not c.critical] == marks


def test_impossible_primaries_give_no_profile() -> None:
    assert colour_marks.make_profile(((0.3, 0.0), (0.3, 0.6), (0.1, 0.1)), (0.31, 0.33), 2.2) is None


# Resolution


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("target", ["b.png", "b.tif", "b.jpg"])
def test_no_resolution_is_invented(tmp_path: Path, name: str, target: str) -> None:
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, portrait(), photometric="rgb", resolution=(1, 1), resolutionunit=1)
    else:
        Image.fromarray(portrait()).save(tmp_path / name)
    protect(tmp_path, (tmp_path / name).read_bytes(), name, target)
    assert photo_files.read(tmp_path / target).encoding["dpi"] is None
    with Image.open(tmp_path / target) as picture:
        assert picture.info.get("dpi", (1, 1)) in ((1, 1), (1.0, 1.0))


@pytest.mark.parametrize("fraction", [(0, 0), (300, 0), (0, 1)])
def test_a_resolution_without_meaning_is_none(tmp_path: Path, fraction: tuple[int, int]) -> None:
    tags_ = [(282, 5, 1, fraction, True), (283, 5, 1, fraction, True)]
    tifffile.imwrite(tmp_path / "a.tif", portrait(), photometric="rgb", extratags=tags_)
    assert photo_files.read(tmp_path / "a.tif").encoding["dpi"] is None


# Diagnoses


def test_a_jpeg_without_its_end_marker_is_read_and_a_shorter_one_refused(tmp_path: Path) -> None:
    whole = jpeg(quality=90)
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    assert np.array_equal(photo_files.read(tmp_path / "a.jpg").pixels, stored(whole))
    assert protect(tmp_path, whole[:-2], "a.jpg")[0].endswith(b"\xff\xd9")
    (tmp_path / "b.jpg").write_bytes(whole[:-40])
    with raising(UnreadableImage, "image-damaged"):
        photo_files.read(tmp_path / "b.jpg")


def test_a_png_without_its_end_chunk_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_with()[:-12])
    assert np.array_equal(photo_files.read(tmp_path / "a.png").pixels, portrait())


def test_a_text_with_a_wrong_checksum_is_dropped_and_the_photo_read(tmp_path: Path) -> None:
    file = png_with((b"tEXt", b"Comment\0hi"), (b"tEXt", b"Title\0mine"))
    broken = file.replace(b"Comment\0hi", b"Comment\0ho")
    out, codes = protect(tmp_path, broken, "a.png")
    assert codes == ["parts-not-kept", "part-damaged"]
    assert [chunk.body for chunk in png_file.parse(out) if chunk.kind == b"tEXt"] == [b"Title\0mine"]


def test_a_wrong_checksum_of_pixels_is_reported(tmp_path: Path) -> None:
    file = bytearray(png_with())
    file[file.index(b"IDAT") + 40] ^= 1
    (tmp_path / "a.png").write_bytes(file)
    with raising(UnreadableImage, "image-damaged", reason=Message("checksum-wrong", part="IDAT")):
        photo_files.read(tmp_path / "a.png")


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF\4\0\0\0WEBP"])
def test_no_error_message_shows_a_python_object(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + bytes(3))
    with raising(UnreadableImage, "image-damaged"):
        photo_files.read(tmp_path / "a")
    with pytest.raises(UnreadableImage) as raised:
        photo_files.read(tmp_path / "a")
    reason = str(raised.value.fields["reason"])
    assert "<" not in reason and "0x" not in reason


@pytest.mark.parametrize("compression", ["zstd", "lzma"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_tiff_in_a_rarer_compression_is_read(tmp_path: Path, compression: str, mode: str) -> None:
    picture = Image.fromarray(portrait()).convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    shown = np.asarray(picture.convert("RGB") if mode == "P" else picture)
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels.squeeze(), shown)


def test_a_tiff_in_an_unsupported_compression_is_not_reported_as_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", portrait(), photometric="rgb")
    file = bytearray((tmp_path / "a.tif").read_bytes())
    entry = file.index(struct.pack("<HHL", 259, 3, 1))
    struct.pack_into("<H", file, entry + 8, 50002)
    (tmp_path / "a.tif").write_bytes(file)
    with raising(UnreadableImage, "image-compression-unsupported", compression="JPEG XL"):
        photo_files.read(tmp_path / "a.tif")


def test_a_tiff_in_tiles_of_separate_colours_is_read(tmp_path: Path) -> None:
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 64)}
    planes = np.moveaxis(portrait(), 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, **options)
    assert np.array_equal(photo_files.read(tmp_path / "a.tif").pixels, portrait())
    # No library here reads them with 16 bits, all of which are kept.
    tifffile.imwrite(tmp_path / "b.tif", planes.astype(np.uint16) * 257, **options)
    with raising(UnreadableImage, "image-compression-unsupported", compression="tiles of separate colours"):
        photo_files.read(tmp_path / "b.tif")


def test_a_tiff_of_12_bits_is_not_reported_as_damaged(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", portrait()[..., 0], photometric="minisblack", metadata=None)
    file = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<H", file, file.index(struct.pack("<HHL", 258, 3, 1)) + 8, 12)
    (tmp_path / "a.tif").write_bytes(file)
    with pytest.raises(UnreadableImage) as raised:
        photo_files.read(tmp_path / "a.tif")
    assert (raised.value.code, raised.value.fields["kind"]) == ("image-numbers-unsupported", "12 bits")


def test_bytes_between_segments_are_skipped(tmp_path: Path) -> None:
    file = with_segments(jpeg(), (0xFE, b"by Ann"))
    tables = file.index(b"\xff\xdb")
    out, _ = protect(tmp_path, file[:tables] + b"hello\xff\0\0" + file[tables:], "a.jpg")
    assert b"hello" not in out and jpeg_file.read_comments(jpeg_file.parse(out)) == (b"by Ann",)
    assert np.array_equal(photo_files.read(tmp_path / "a.jpg").pixels, stored(file))


@pytest.mark.parametrize(
    ("marker", "bits", "name"),
    [(0xC1, 12, "JPEG of 12 bits"), (0xC3, 16, "lossless JPEG"), (0xF7, 8, "lossless JPEG")],
)
def test_a_jpeg_in_an_unsupported_coding_is_not_reported_as_damaged(
    tmp_path: Path, marker: int, bits: int, name: str
) -> None:
    file = bytearray(jpeg())
    frame = file.index(b"\xff\xc0")
    file[frame + 1], file[frame + 4] = marker, bits
    (tmp_path / "a.jpg").write_bytes(file)
    with raising(UnreadableImage, "image-compression-unsupported", compression=name):
        photo_files.read(tmp_path / "a.jpg")


# From one format to another


@pytest.mark.parametrize("target", ["b.jpg", "b.png", "b.tif", "b.webp", "b.avif"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif"])
def test_another_format_gets_exif_xmp_and_profile(tmp_path: Path, name: str, target: str) -> None:
    block = tags((0x010F, 2, 6, b"Maker\0"), (0x0112, 3, 1, b"\0\1"), (0x013B, 2, len(ARTIST), ARTIST))
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/' dc:title='portrait'/>"
    photo_files.write(tmp_path / name, Photo(portrait(), ICC, block, packet))
    protect(tmp_path, (tmp_path / name).read_bytes(), name, target)
    back = photo_files.read(tmp_path / target)
    artist = exif.find(back.exif, 0, 0x013B)
    assert artist is not None and artist.value == ARTIST
    assert back.xmp == packet and back.icc == ICC
    assert np.abs(back.pixels[100:].astype(int) - portrait()[100:]).mean() < 4


def test_iptc_and_comments_are_kept_where_the_format_allows_and_else_reported(tmp_path: Path) -> None:
    segments = (0xED, b"Photoshop 3.0\0" + photoshop.wrap_iptc(IPTC)), (0xFE, b"by Ann")
    file = with_segments(jpeg(), *segments)
    for target, lacking in (("b.png", []), ("b.tif", ["comments"]), ("b.webp", ["iptc", "comments"])):
        _, codes = protect(tmp_path, file, "a.jpg", target)
        assert codes == (["parts-not-kept", *(f"part-{name}" for name in lacking)] if lacking else [])
        back = photo_files.read(tmp_path / target)
        assert back.iptc == (None if "iptc" in lacking else IPTC)
        assert back.comments == (() if lacking else (b"by Ann",))


def test_texts_of_a_png_become_comments_of_a_jpeg(tmp_path: Path) -> None:
    file = png_with((b"tEXt", b"Copyright\0\xa9 Ann"), (b"tEXt", b"Comment\0hi"))
    out, codes = protect(tmp_path, file, "a.png", "b.jpg")
    assert codes == []
    assert jpeg_file.read_comments(jpeg_file.parse(out)) == ("Copyright: © Ann".encode(), b"hi")


# AVIF


def avif(picture: NDArray[Any], colours: tuple[int, int] | None = None, **options: Any) -> bytes:
    """An AVIF file of 8, 10 or 12 bits, with its colours by H.273's numbers changed where they are given."""
    high = picture.dtype == np.uint16
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(picture).data, picture.shape[1], picture.shape[0], 3, "ushort" if high else "uchar"
    ).copy(interpretation="rgb16" if high else "srgb")
    file = bytearray(image.heifsave_buffer(compression="av1", effort=0, lossless=True, **options))
    if colours:
        struct.pack_into(">HH", file, file.index(b"nclx") + 4, *colours)
    return bytes(file)


def test_an_avif_of_ten_bits_keeps_them_in_a_png_and_is_not_squeezed_into_eight(tmp_path: Path) -> None:
    deep = (portrait().astype(np.uint16) << 8) | 0xC0
    (tmp_path / "a.avif").write_bytes(avif(deep, bitdepth=10))
    photo = photo_files.read(tmp_path / "a.avif")
    assert photo.pixels.dtype == np.uint16 and np.abs(photo.pixels.astype(int) - deep).max() <= 64
    photo_files.write(tmp_path / "b.png", photo)
    assert np.array_equal(photo_files.read(tmp_path / "b.png").pixels, photo.pixels)
    with raising(BadRequest, "avif-of-8-bits", instead="b.tif"):
        photo_files.write(tmp_path / "b.avif", photo)


@pytest.mark.parametrize("transfer", [colour_marks.PQ, colour_marks.HLG])
def test_an_avif_in_hdr_is_refused(tmp_path: Path, transfer: int) -> None:
    (tmp_path / "a.avif").write_bytes(avif(portrait(), (9, transfer)))
    with raising(UnreadableImage, "image-hdr"):
        photo_files.read(tmp_path / "a.avif")


def test_an_avif_in_display_p3_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(avif(np.full((64, 64, 3), (200, 100, 50), np.uint8), (12, 13)))
    photo = photo_files.read(tmp_path / "a.avif")
    assert float(colour_profiles.to_srgb(photo)[0, 0, 0] * 255) == pytest.approx(215, abs=2)


def test_a_rotated_avif_is_read_and_written_upright(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, "AVIF", quality=95, exif=exif.make_block(6))
    protect(tmp_path, stream.getvalue(), "a.avif")
    for name in ("a.avif", "out.avif"):
        back = photo_files.read(tmp_path / name)
        assert (back.width, back.height) == (211, 317)
        beside = turn_upright(portrait(), 6)[100:]
        assert np.abs(back.pixels[100:].astype(int) - beside).mean() < 4


def test_a_damaged_avif_and_an_animated_one_give_different_errors(tmp_path: Path) -> None:
    file = avif(portrait())
    (tmp_path / "a.avif").write_bytes(file[: len(file) // 2])
    with raising(UnreadableImage, "image-damaged"):
        photo_files.read(tmp_path / "a.avif")
    stream = io.BytesIO()
    first, second = Image.fromarray(portrait()), Image.new("RGB", (317, 211), "red")
    first.save(stream, "AVIF", save_all=True, append_images=[second])
    (tmp_path / "b.avif").write_bytes(stream.getvalue())
    with raising(UnreadableImage, "image-animated"):
        photo_files.read(tmp_path / "b.avif")


# Disks


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_a_disk_that_cannot_sync_gets_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    photo_files.write(tmp_path / "a.png", Photo(portrait()))
    assert np.array_equal(photo_files.read(tmp_path / "a.png").pixels, portrait())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_file_of_the_longest_name_is_written(tmp_path: Path) -> None:
    name = "ä" * 125 + ".png"
    photo_files.write(tmp_path / name, Photo(portrait()))
    assert [path.name for path in tmp_path.iterdir()] == [name]
