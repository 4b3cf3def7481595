"""What the client says the worker understands and the reverse, and neither is led astray by any bytes."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from worker_client import constants
from worker_client import protocol as client
from worker_client import transport as client_side
from worker_client.client import shake_hands

from c2p_core.errors import BadRequest, Message
from c2p_core.io import decode
from c2p_core.worker import protocol as worker
from c2p_core.worker import transport as server_side
from c2p_core.worker.job_header import JobHeader

SETTINGS = settings(max_examples=200, deadline=None)

DTYPES = {"u8": np.uint8, "u16": np.uint16, "float": np.float32}


@contextlib.contextmanager
def breaking_the_protocol(code: str, **fields: Any) -> Iterator[None]:
    """Like ``pytest.raises`` for a ``ProtocolError`` with this message."""
    with pytest.raises(client.ProtocolError) as caught:
        yield
    assert caught.value.message == Message(code, **fields)


class Bytes:
    """A stream that ends."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def read(self, count: int) -> bytearray:
        if count > len(self.data):
            raise client.StreamClosed("no more")
        part, self.data = self.data[:count], self.data[count:]
        return part

    def write(self, data: Any) -> None:
        self.data += data

    def wait(self, seconds: float) -> bool:
        return True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
headers = st.dictionaries(st.text(max_size=10).filter(lambda key: key != "pictures"), json_values, max_size=6)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)))
    return np.random.default_rng(draw(st.integers(0, 9))).integers(0, 255, shape).astype(dtype)


@SETTINGS
@given(headers, st.lists(arrays(), max_size=3), st.binary(max_size=20))
def test_what_the_worker_says_the_client_hears(header: dict[str, Any], made: list[np.ndarray], icc: bytes) -> None:
    stream = Bytes()
    sent = [worker.Picture("photo", 3, -4, pixels, icc or None, {"mode": "normal"}) for pixels in made]
    worker.write(stream, worker.pack(header, sent))
    heard, pictures = client.read_message(stream)
    assert heard == header and not stream.data
    for picture, pixels in zip(pictures, made, strict=True):
        assert b"".join(picture.strips) == pixels.tobytes()
        assert (picture.width, picture.height, picture.channels) == (pixels.shape[1], pixels.shape[0], pixels.shape[2])
        assert (picture.icc, picture.about, picture.x, picture.y) == (icc, {"mode": "normal"}, 3, -4)


@SETTINGS
@given(headers, st.lists(arrays(), max_size=3), st.binary(max_size=20))
def test_what_the_client_says_the_worker_hears(header: dict[str, Any], made: list[np.ndarray], icc: bytes) -> None:
    stream = Bytes()
    depths = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    sent = [
        client.Picture(
            "p", 1, 2, a.shape[1], a.shape[0], a.shape[2], depths[a.dtype], icc, [row.tobytes() for row in a]
        )
        for a in made
    ]
    client.write_message(stream, header, sent)
    heard = worker.read(stream)
    assert heard.header == header and not stream.data
    for picture, pixels in zip(worker.unpack(heard), made, strict=True):
        assert np.array_equal(picture.pixels, pixels) and picture.pixels.dtype == pixels.dtype
        assert (picture.icc or b"", picture.x, picture.y) == (icc, 1, 2)


def framed(header: bytes, payload: bytes, version: int = constants.PROTOCOL) -> bytes:
    return struct.pack(">4sHHIQ", b"C2PW", version, 0, len(header), len(payload)) + header + payload


entries = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("p") | json_values,
        "x": st.integers() | json_values,
        "y": st.integers(-9, 9) | json_values,
        "width": st.integers(-2, 9) | st.integers() | json_values,
        "height": st.integers(-2, 9) | st.integers() | json_values,
        "channels": st.integers(0, 5) | json_values,
        "depth": st.sampled_from(["u8", "u16", "float", "u4"]) | json_values,
        "icc": st.integers(-1, 9) | json_values,
        "about": json_values,
    },
)
messages = st.one_of(
    st.binary(max_size=200),
    st.builds(framed, st.binary(max_size=60), st.binary(max_size=20), st.integers(0, 3)),
    st.builds(
        lambda header, pictures, payload: framed(json.dumps({**header, "pictures": pictures}).encode(), payload),
        headers,
        json_values | st.lists(entries, max_size=3),
        st.binary(max_size=60),
    ),
)


@SETTINGS
@given(messages)
def test_any_bytes_are_a_message_or_an_error_for_the_worker(data: bytes) -> None:
    with contextlib.suppress(client.ProtocolError, client.StreamClosed):
        worker.unpack(worker.read(Bytes(data)))


@SETTINGS
@given(messages)
def test_any_bytes_are_a_message_or_an_error_for_the_client(data: bytes) -> None:
    with contextlib.suppress(client.ProtocolError, client.StreamClosed):
        client.read_message(Bytes(data))


keys = ["prompt", "strength", "steps", "full", "faces", "choose", "fetch", "upload", "device", "recognisers"]


@SETTINGS
@given(
    st.dictionaries(
        st.sampled_from(keys),
        json_values | st.lists(st.fixed_dictionaries({"number": json_values, "box": json_values}), max_size=2),
    )
)
def test_any_header_is_understood_or_refused_in_words(header: dict[str, Any]) -> None:
    header_values = JobHeader(header)
    for read in (
        lambda: header_values.read_text("prompt", ""),
        lambda: header_values.read_number("strength", 0, 0, 1),
        lambda: header_values.read_integer("steps", 0, 0, 100),
        lambda: header_values.read_size("full"),
        header_values.read_faces,
        header_values.read_face_choice,
        lambda: header_values.read_names("fetch"),
        lambda: header_values.read_flag("upload"),
        lambda: header_values.read_choice("device", "auto", ("auto", "cpu")),
        lambda: header_values.read_names("recognisers"),
    ):
        try:
            read()
        except BadRequest as refusal:
            assert str(refusal).endswith(".")


def test_both_sides_understand_each_other_over_the_connections_that_windows_needs() -> None:
    first, second = multiprocessing.Pipe()
    ours, theirs = server_side.ClientPipe(first), client_side.PipeStream(second)
    pixels = np.arange(3_000_000, dtype=np.uint8).reshape(1000, 1000, 3)
    sent = worker.pack({"kind": "result"}, [worker.Picture("p", 0, 0, pixels)])
    writing = threading.Thread(target=worker.write, args=(ours, sent))
    writing.start()
    assert theirs.wait(5)
    header, (picture,) = client.read_message(theirs)
    writing.join()
    assert header == {"kind": "result"} and b"".join(picture.strips) == pixels.tobytes()
    assert not theirs.wait(0)
    client.write_message(theirs, {"kind": "cancel", "job": 1})
    ours.wait()
    assert worker.read(ours).header == {"kind": "cancel", "job": 1}
    theirs.close()
    with pytest.raises(client.StreamClosed):
        worker.read(ours)


def test_a_message_of_another_protocol_is_known_as_such() -> None:
    data = framed(b"what a future header looks like nobody knows", b"", version=7)
    with pytest.raises(client.OtherVersion):
        worker.read(Bytes(data))
    with pytest.raises(client.OtherVersion) as caught:
        client.read_message(Bytes(data))
    assert caught.value.version == 7


def test_a_proof_is_good_for_one_side_only() -> None:
    assert client.compute_proof("t", "client", "a", "b") != client.compute_proof("t", "worker", "a", "b")


def test_a_message_may_hold_the_largest_photo_that_the_library_reads() -> None:
    assert constants.PIXELS_LIMIT == decode.MAX_PIXELS


@pytest.mark.parametrize("read", [worker.read, client.read_message])
def test_as_many_pictures_as_a_large_group_has_and_no_more(read: Callable[[Any], object]) -> None:
    entry = {"name": "p", "x": 0, "y": 0, "width": 1, "height": 1, "channels": 1, "depth": "u8", "icc": 0}

    def frame(count: int) -> bytes:
        return framed(json.dumps({"pictures": [entry] * count}).encode(), bytes(count))

    read(Bytes(frame(constants.PICTURES_LIMIT)))
    with breaking_the_protocol("header-value-wrong", key="pictures"):
        read(Bytes(frame(constants.PICTURES_LIMIT + 1)))


def test_nan_and_infinity_are_rejected() -> None:
    stream = Bytes()
    with breaking_the_protocol("header-not-json"):
        client.write_message(stream, {"strength": float("nan")})
    assert not stream.data
    with breaking_the_protocol("header-not-json"):
        client.read_message(Bytes(framed(b'{"strength": NaN}', b"")))


def test_a_stranger_gets_the_client_to_read_no_pixels_and_to_believe_no_proof() -> None:
    entry = {"name": "p", "x": 0, "y": 0, "width": 1, "height": 1, "channels": 1, "depth": "u8", "icc": 0}
    greeting = {"kind": "greeting", "challenge": "00", "pictures": [entry]}
    stream: Any = Bytes(framed(json.dumps(greeting).encode(), b"x"))
    with breaking_the_protocol("message-too-large"):
        shake_hands(stream, "token", "test", "work", None)
    assert not client.same_secret("\ud800", "0" * 64)


def test_a_payload_is_refused_before_it_is_read() -> None:
    def refuse(size: int) -> None:
        raise MemoryError(size)

    pixels = np.zeros((4, 4, 1), np.uint8)
    stream = Bytes()
    worker.write(stream, worker.pack({}, [worker.Picture("p", 0, 0, pixels)]))
    with pytest.raises(MemoryError, match="16"):
        worker.read(stream, refuse)
    assert len(stream.data) == 16
