"""The limit that a shell or a service may set for the memory of a process."""

from __future__ import annotations

import sys

from c2p_core.errors import C2PError

# Address space in bytes that commands take for a small photo, as measured with PyTorch's build for processors: to find
# faces, to compare them, to search.
FIND, COMPARE, SEARCH = 1_150_000_000, 1_300_000_000, 1_600_000_000
_PRIVATE = 0.35  # share of it that is no file's


def check_memory_limit(needed: int) -> None:
    """Fail before anything is loaded: without enough memory, native libraries end the process without a word.

    Args:
        needed: one of the above.

    Raises:
        C2PError: the limit is lower.
    """
    if sys.platform == "win32":
        return
    import resource

    for kind, share in ((resource.RLIMIT_AS, 1.0), (resource.RLIMIT_DATA, _PRIVATE)):
        limit, least = resource.getrlimit(kind)[0], needed * share
        if limit != resource.RLIM_INFINITY and limit < least:
            raise C2PError("memory-limited", limit=limit // 10**6, needed=round(least / 10**6))
