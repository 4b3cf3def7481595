"""Freed memory goes back to the system where it is much, and is used again where it is not."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.checkout import environment

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc"
)

CODE = """
import ctypes, sys
import psutil
from c2p_core.worker.memory import give_back_if_much

c, own = ctypes.CDLL(None), psutil.Process()
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
block, count = 1 << 16, int(sys.argv[1]) * 16
blocks = [c.malloc(block) for _ in range(count)]
for address in blocks:
    ctypes.memset(address, 1, block)
c.malloc(block)  # what lies above can't be given back by itself
for address in blocks:
    c.free(address)
before = own.memory_info().rss
give_back_if_much()
print((before - own.memory_info().rss) >> 20)
"""


@pytest.mark.parametrize(("freed", "least", "most"), [(100, 0, 10), (400, 350, 500)])
def test_only_much_freed_memory_is_given_back(freed: int, least: int, most: int) -> None:
    """All in MiB."""
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(freed)], capture_output=True, text=True, check=True, env=environment()
    )
    assert least <= int(run.stdout) <= most
