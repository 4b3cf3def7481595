"""Files that other programs or plug-ins have to open first: HEIF with pi-heif, camera raw with none."""

from __future__ import annotations

import base64
import io
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.errors import UnreadableImage
from c2p_core.io import avif_file, exif, photo_files
from c2p_core.photo import Photo
from tests.error_assertions import raising

# Made with pillow-heif 1.8.1: a part of the astronaut on its side, turned upright by the file's own box, with EXIF that
# repeats this and XMP; and a smaller one of ten bits.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAettZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAEZpbG9jAAAA"
    "AERAAAMAAQAAAAACDwABAAAAAAAAAmgAAgAAAAAEdwABAAAAAAAAADYAAwAAAAAErQABAAAAAAAAAOEAAABiaWluZgAAAAAAAwAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAACppbmZlAgAAAQADAABtaW1lAGFwcGxpY2F0aW9uL3JkZit4bWwAAAAAAA5waXRtAAAA"
    "AAABAAAA4GlwcnAAAADAaXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAr"
    "QgEBA3AAAAMAkAAAAwAAAwAeoDCAgWW6kkprm4CGgwIAAAMAMgAAAwACEGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAA"
    "AAAAAABgAAAAgAAAABBwaXhpAAAAAAMICAgAAAAJaXJvdAMAAAAYaXBtYQAAAAAAAAABAAEFgQIDBIUAAAAoaXJlZgAAAAAAAAAOY2RzYwACAAEA"
    "AQAAAA5jZHNjAAMAAQABAAADh21kYXQAAAJkKAGvGYC0jNB59L6M5mhm/sLtSfjnQw1rpatfso7dA8xpDN9lMvvCx9xiYGXUqd1eovBdL+fnGRhm"
    "vPK9k/RqywGjp0aunbwjwMvB8/ECh1TmsAsgJZaLg9Snj9gacXHy1a0dduI6A3oU9y7g85mqYnC9ly6TLmVydGHjlH/LQtrR2BSkHvK7S8yhmnO1"
    "e0/7tqMudZx09EBgYruhdWTSQKjUR6whtgWAVuOWxgjI4qKQF/Nqw76xqgNwZZ+r8F91sNsNogTUvujfVELSIix0biK+fQnnuc7+BJouJVe5BETI"
    "sbR4KisUoU9XCtn15EnpNg4V63jejUizcPw+HKGqEK5mBuvS0MyH705ThZWEDVJUMzv2KqQuDXe0MBiSX0xnavKgbxiCMT7pSt83AJryw8G8lWtk"
    "/OsxX/JoSSnPVSxnGbtPgZV+Tf2AJwYHlDWKDCSKjnuwtm6KfzRyec6RS7a81/LSp2cfcYf+q7+kuD4hWKMvQX/87u6D5A18fIv5Q/HZRvQgcgUL"
    "enudGhgcXUEFuKBfNUY5v3j3r7HHyzZvM+sE6gMMPRE3G42PeWr+PpBGjdNSDo4PeNjsPDkSwzuUzK7I/xKI1ZKMUkKpJ6EHulx5M/E+qEEVeiU0"
    "X77fqd8teumW0KMzqN6AD/SHE3pDhwUvh/ZJbKqgaftC7SLx8WQTyl9m6kmT9zO49/p+KevSJD0SHCoY2Xt0/NRyfiBHHBoOO46kek6Yt8Ee/iJX"
    "1t3N3gcxm9s6qECuQGV+nBnjMj6w48W/QDHvwzFzq/X2qR3Yz0tVK0hwCWHu5CP5gNfIAAAABkV4aWYAAE1NACoAAAAIAAIBDwACAAAABgAAACYB"
    "EgADAAAAAQAGAAAAAAAATWFrZXIAPHg6eG1wbWV0YSB4bWxuczp4PSJhZG9iZTpuczptZXRhLyI+PHJkZjpSREYgeG1sbnM6cmRmPSJodHRwOi8v"
    "d3d3LnczLm9yZy8xOTk5LzAyLzIyLXJkZi1zeW50YXgtbnMjIj48cmRmOkRlc2NyaXB0aW9uIHJkZjphYm91dD0iIiB4bWxuczpkYz0iaHR0cDov"
    "L3B1cmwub3JnL2RjL2VsZW1lbnRzLzEuMS8iIGRjOnJpZ2h0cz0ibm8gQUkgdHJhaW5pbmciLz48L3JkZjpSREY+PC94OnhtcG1ldGE+"
)
HEIC_OF_TEN_BITS = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABoAABAAAAAAAAAEkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADc"
    "aXBjbwAAAHVodmNDAQQIAAAAnbgAAAAAHvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAADAAAeugJAYQABACpCAQEECAAAAwCduAAAAwAA"
    "HqAggQTZbq5Ka5uAhoMCAAADADIAAAMAAhBiAAEABkQBwXPAiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFw"
    "AAAAMAAAAAEAAAAgAAAAAf////AAAAAC////4AAAAAIAAAAQcGl4aQAAAAADCgoKAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAUW1kYXQAAABF"
    "KAGvGYDvTT532U0HNC6SuII+9sgtKKOvTVfHyCeLm5RWlrHDtw6P1WE7+o5p8eCceVVu11WBDkYypniyHM6m+BJo7eRv"
)


def read(folder: Path, file: bytes, name: str = "a.heic") -> Photo:
    (folder / name).write_bytes(file)
    return photo_files.read(folder / name)


# HEIF


def test_a_heif_is_read_upright_with_its_metadata(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    photo = read(tmp_path, HEIC)
    assert photo.format == "HEIF" and photo.pixels.shape == (96, 128, 3)
    assert np.abs(photo.pixels.astype(int) - data.astronaut()[:96, 150:278]).mean() < 6
    made = exif.find(photo.exif, 0, 0x010F)
    assert made is not None and made.value == b"Maker\0" and exif.read_orientation(photo.exif) == 1
    assert photo.xmp is not None and b"no AI training" in photo.xmp


def test_pixels_of_a_heif_stay_valid_after_its_decoder_is_freed(tmp_path: Path) -> None:
    """What it lends is freed with it: large photos ended the process."""
    pytest.importorskip("pi_heif")
    pixels = read(tmp_path, HEIC).pixels
    while isinstance(pixels.base, np.ndarray):
        pixels = pixels.base
    assert pixels.flags.owndata


def test_a_heif_becomes_a_jpeg_with_its_metadata(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    assert photo_files.ending_for(tmp_path / "IMG_1.HEIC") == ".jpg"
    assert photo_files.write(tmp_path / "b.jpg", read(tmp_path, HEIC)) == ()
    back = photo_files.read(tmp_path / "b.jpg")
    assert back.xmp is not None and b"no AI training" in back.xmp and exif.read_orientation(back.exif) == 1


def test_a_heif_of_ten_bits_keeps_them(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    photo = read(tmp_path, HEIC_OF_TEN_BITS)
    assert photo.pixels.dtype == np.uint16 and photo.encoding["bits"] == 10
    assert np.abs(photo.pixels / 257.0 - data.astronaut()[:32, 150:198]).mean() < 8
    assert photo_files.ending_for(tmp_path / "DSC1.HIF") == ".png"


def test_what_a_phone_stores_beside_the_picture_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    # In place of the box that says the depth: the name of a depth map, as short as it comes.
    at = HEIC.index(b"pixi")
    assert avif_file.read_properties(HEIC[:at] + b"auxCauxid:2\0" + HEIC[at + 12 :]).further == {"depth"}
    photo = read(tmp_path, HEIC)
    photo = replace(photo, encoding=photo.encoding | {"further": frozenset({"gain-map"})})
    (said,) = photo_files.write(tmp_path / "b.jpg", photo)
    assert [part.code for part in said.fields["parts"]] == ["part-gain-map"]


@pytest.mark.parametrize("size", [60, 700, len(HEIC) - 200])
def test_a_truncated_heif_is_reported_as_damaged(tmp_path: Path, size: int) -> None:
    pytest.importorskip("pi_heif")
    with raising(UnreadableImage, "image-damaged", path=str(tmp_path / "a.heic")):
        read(tmp_path, HEIC[:size])


def test_an_unsupported_heif_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with raising(UnreadableImage, "image-heif-unreadable", path=str(tmp_path / "a.heic")):
        read(tmp_path, HEIC)


# Camera raw


def directory(*entries: tuple[int, int, int]) -> bytes:
    """The start of a TIFF: tags of one number each, of type long."""
    body = b"".join(struct.pack("<HHLL", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + body + bytes(4)


def preview_and_mosaic() -> bytes:
    """As Nikon and Sony do: the main directory is a preview, what it leads to is the picture."""
    main = directory((254, 4, 1), (256, 4, 160), (262, 4, 2), (330, 4, 8 + 2 + 4 * 12 + 4))
    return main + directory((256, 4, 6000), (262, 4, 32803))[8:]


RAW = {
    "a.raf": b"FUJIFILMCCD-RAW 0201FF129502",
    "a.orf": b"IIRO\x08\0\0\0",
    "a.rw2": b"IIU\0\x08\0\0\0",
    "a.cr3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
    "a.cr2": b"II*\0\x10\0\0\0CR\2\0\0\0\0\0" + directory((256, 4, 100))[8:],
    "a.dng": directory((256, 4, 100), (50706, 1, 4)),
    "a.nef": preview_and_mosaic(),
    "a.x3f": b"FOVb\0\0\2\0",
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("called", ["", "scan.tif"])
def test_camera_raw_is_refused_by_its_content_whatever_its_name(tmp_path: Path, name: str, called: str) -> None:
    path = tmp_path / (called or name)
    with raising(UnreadableImage, "image-raw", path=str(path)):
        read(tmp_path, RAW[name], path.name)


def test_a_raw_with_unknown_content_is_recognised_by_its_extension(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()[:32, :32]).save(stream, "TIFF")
    with raising(UnreadableImage, "image-raw", path=str(tmp_path / "a.3FR")):
        read(tmp_path, stream.getvalue(), "a.3FR")
    assert read(tmp_path, stream.getvalue(), "a.tif").width == 32


def test_a_jpeg_with_the_extension_of_a_raw_is_a_jpeg(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()[:32, :32]).save(stream, "JPEG")
    assert read(tmp_path, stream.getvalue(), "a.nef").format == "JPEG"
