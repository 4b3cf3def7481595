"""The reader of dlib's files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.convert.published import import_script

read_dlib_network, UnreadableNetwork = (
    import_script("dlib_file").read_dlib_network,
    import_script("dlib_file").UnreadableNetwork,
)


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.999999])
def test_a_truncated_file_is_refused(dlib_weights: Path, tmp_path: Path, share: float) -> None:
    data = dlib_weights.read_bytes()
    (tmp_path / "cut.dat").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UnreadableNetwork, match=r"cut\.dat"):
        read_dlib_network(tmp_path / "cut.dat")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableNetwork):
        read_dlib_network(tmp_path / "none.dat")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 330), value=st.integers(0, 255))
def test_a_damaged_header_never_hangs_or_crashes(dlib_weights: Path, tmp_path: Path, position: int, value: int) -> None:
    with dlib_weights.open("rb") as file:
        data = bytearray(file.read(40_000))
    data[position] = value
    (tmp_path / "bad.dat").write_bytes(data)
    with pytest.raises(UnreadableNetwork):
        read_dlib_network(tmp_path / "bad.dat")
