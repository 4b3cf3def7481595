"""AVIF and HEIF of rarer kinds: they are read, or it is said which kind they are; damaged are only those that are."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from c2p_core.errors import UnreadableImage
from c2p_core.io import avif_file, photo_files
from c2p_core.io.boxes import read_items
from c2p_core.photo import Photo
from tests.error_assertions import raising
from tests.io.test_raw_and_heif import HEIC

PORTRAIT = data.astronaut()[:192, 100:356]
# Properties of a picture in layers: the operating point to show, and a layer to show, which is not there.
POINT, MISSING = (b"a1op", b"\0"), (b"lsel", b"\0\3")
PQ = b"nclx" + struct.pack(">HHHB", 9, 16, 9, 0)


def avif(pixels: NDArray[np.uint8], **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "AVIF", quality=95, **options)
    return stream.getvalue()


def add_property(file: bytes, kind: bytes, body: bytes, *, owned: bool) -> bytes:
    """An AVIF of one picture with a further property, before all others; ``owned``: whether it is the picture's."""
    box = struct.pack(">L4s", len(body) + 8, kind) + body
    grown = bytearray(file)
    at = grown.index(b"ipma") + 4 + 4 + 4 + 2
    places = [0x81] * owned + [place + 1 for place in grown[at + 1 : at + 1 + grown[at]]]
    grown[at : at + 1 + grown[at]] = bytes([len(places), *places])
    at = grown.index(b"ipco") + 4
    grown[at:at] = box
    for holder, more in (
        (b"meta", len(box) + owned),
        (b"iprp", len(box) + owned),
        (b"ipco", len(box)),
        (b"ipma", owned),
    ):
        at = grown.index(holder) - 4
        struct.pack_into(">L", grown, at, struct.unpack_from(">L", grown, at)[0] + more)
    at = grown.index(b"iloc") + 18
    struct.pack_into(">L", grown, at, struct.unpack_from(">L", grown, at)[0] + len(box) + owned)
    return bytes(grown)


def make_layered(kind: bytes, which: bytes) -> bytes:
    """A file that announces a layer that is smaller than the largest one."""
    file = add_property(avif(PORTRAIT), kind, which, owned=True)
    at = file.index(b"ispe") + 8
    return file[:at] + struct.pack(">LL", 128, 96) + file[at + 8 :]


def read(folder: Path, file: bytes, name: str = "a.avif") -> Photo:
    (folder / name).write_bytes(file)
    return photo_files.read(folder / name)


def test_a_layer_that_is_smaller_than_the_largest_one_is_read(tmp_path: Path) -> None:
    photo = read(tmp_path, make_layered(*POINT))
    wanted = np.asarray(Image.fromarray(PORTRAIT).resize((128, 96), Image.Resampling.BOX))
    assert photo.pixels.shape == (96, 128, 3) and np.abs(photo.pixels.astype(int) - wanted).mean() < 6


def test_a_layer_that_no_library_reads_is_not_reported_as_damaged(tmp_path: Path) -> None:
    path = str(tmp_path / "a.avif")
    with raising(UnreadableImage, "image-layers-unsupported", path=path):
        read(tmp_path, make_layered(*MISSING))


@pytest.mark.parametrize("which", [POINT, MISSING])
def test_a_layered_file_that_was_cut_short_is_damaged(tmp_path: Path, which: tuple[bytes, bytes]) -> None:
    with raising(UnreadableImage, "image-damaged", path=str(tmp_path / "a.avif")):
        read(tmp_path, make_layered(*which)[:-200])


def test_limited_range_grey_is_expanded_to_full_black_and_white(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    photo = read(tmp_path, avif(ramp, range="limited"))
    assert np.abs(photo.pixels.astype(int) - ramp[..., None]).max() <= 2


def test_colours_of_another_picture_in_the_file_are_not_applied_to_the_photo(tmp_path: Path) -> None:
    """A gain map's other picture is HDR, and its colours may come first."""
    file = avif(PORTRAIT)
    assert np.array_equal(
        read(tmp_path, add_property(file, b"colr", PQ, owned=False)).pixels, read(tmp_path, file).pixels
    )
    with raising(UnreadableImage, "image-hdr", path=str(tmp_path / "a.avif")):
        read(tmp_path, add_property(file, b"colr", PQ, owned=True))


@pytest.mark.parametrize(
    ("kind", "code", "fields"),
    [
        (b"vvc1", "image-compression-unsupported", {"compression": "H.266"}),
        (b"j2k1", "image-compression-unsupported", {"compression": "JPEG 2000"}),
        (b"unci", "image-uncompressed-unsupported", {}),
        (b"lhv1", "image-layers-unsupported", {}),
        (b"tili", "image-kind-unsupported", {}),
    ],
)
def test_a_heif_in_another_coding_is_not_reported_as_damaged(
    tmp_path: Path, kind: bytes, code: str, fields: dict[str, str]
) -> None:
    pytest.importorskip("pi_heif")
    file = HEIC.replace(b"hvc1", kind)
    with raising(UnreadableImage, code, path=str(tmp_path / "a.heic"), **fields):
        read(tmp_path, file, "a.heic")
    with raising(UnreadableImage, "image-damaged", path=str(tmp_path / "a.heic")):
        read(tmp_path, file[:-300], "a.heic")


def test_endlessly_nested_boxes_are_reported_as_damaged(tmp_path: Path) -> None:
    nested = b""
    for _ in range(1200):
        nested = struct.pack(">L4s", len(nested) + 8, b"iprp") + nested
    meta = struct.pack(">L4sL", len(nested) + 12, b"meta", 0) + nested
    file = b"\0\0\0\x14ftypavif\0\0\0\0avif" + meta
    with raising(UnreadableImage, "image-damaged", path=str(tmp_path / "a.avif")):
        read(tmp_path, file)
    assert read_items(file) is None


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        (b"clap", "Security limit exceeded", "image-crop-unsupported"),
        (b"free", "Unsupported feature", "image-kind-unsupported"),
    ],
)
def test_an_unsupported_feature_of_an_intact_file_is_named(kind: bytes, error: str, code: str) -> None:
    said = avif_file.explain_unreadable(add_property(avif(PORTRAIT), kind, b"", owned=True), ValueError(error))
    assert said is not None and said.code == code
    assert avif_file.explain_unreadable(avif(PORTRAIT), ValueError("Invalid input")) is None


def test_a_sequence_without_a_still_picture_is_an_animation(tmp_path: Path) -> None:
    brands, tracks = b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc", b"\0\0\0\x10moov" + bytes(8)
    with raising(UnreadableImage, "image-animated", path=str(tmp_path / "a.heic")):
        read(tmp_path, brands + tracks, "a.heic")


def test_parts_of_an_avif_that_are_not_kept_are_reported(tmp_path: Path) -> None:
    credentials = bytes.fromhex("00000020 75756964 d8fec3d61b0e483c92975828877ec481 00000000 00000000")
    depth = b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0"
    film = struct.pack(">L4s", 16, b"mpvd") + bytes(8)
    photo = read(tmp_path, add_property(avif(PORTRAIT), b"auxC", depth, owned=False) + credentials + film)
    said = {message.code: message for message in photo_files.write(tmp_path / "b.avif", photo)}
    assert [part.code for part in said["parts-not-kept"].fields["parts"]] == [
        "part-video",
        "part-depth",
        "part-credentials",
    ]


def test_an_avif_gain_map_is_recognised_by_the_item_that_uses_it(tmp_path: Path) -> None:
    file = bytearray(avif(PORTRAIT))
    # A second item.
    at = file.index(b"iinf")
    entry = b"\0\0\0\x15infe\2\0\0\0\0\2\0\0tmap\0"
    end = at - 4 + struct.unpack_from(">L", file, at - 4)[0]
    file[end:end] = entry
    file[at + 9] = 2
    for holder in (b"iinf", b"meta"):
        place = file.index(holder) - 4
        struct.pack_into(">L", file, place, struct.unpack_from(">L", file, place)[0] + len(entry))
    place = file.index(b"iloc") + 18
    struct.pack_into(">L", file, place, struct.unpack_from(">L", file, place)[0] + len(entry))
    assert avif_file.read_properties(bytes(file)).further == {"gain-map"}
