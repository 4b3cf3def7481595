"""The limit that a shell or a service may set for the memory of a process."""

from __future__ import annotations

import sys
from typing import NamedTuple

from c2p_core.errors import C2PError


class Need(NamedTuple):
    """Memory that a command needs for a small photo, in bytes, as measured with PyTorch's CPU build."""

    address_space: int
    private: int  # the part of it that is not backed by a file


# For starting any command, finding faces, comparing them, searching.
COMMAND = Need(200_000_000, 115_000_000)
FIND = Need(1_150_000_000, 402_000_000)
COMPARE = Need(1_300_000_000, 455_000_000)
SEARCH = Need(1_600_000_000, 560_000_000)


def check_memory_limit(needed: Need) -> None:
    """Fail before anything is loaded: without enough memory, native libraries end the process without a message.

    Args:
        needed: one of the above.

    Raises:
        C2PError: the limit is lower.
    """
    if sys.platform == "win32":
        return
    import resource

    for kind, least in ((resource.RLIMIT_AS, needed.address_space), (resource.RLIMIT_DATA, needed.private)):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and limit < least:
            raise C2PError("memory-limited", limit=limit // 10**6, needed=least // 10**6)
