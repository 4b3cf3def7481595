"""``python -m c2p_core``, which is ``c2p``."""

from __future__ import annotations

import sys

from c2p_core.errors import C2PError
from c2p_core.memory_limit import COMMAND, check_memory_limit


def main() -> int:
    """Run the command; returns its exit code."""
    try:
        check_memory_limit(COMMAND)
    except C2PError as error:
        from c2p_core.streams import standard_streams

        with standard_streams(silence=False):
            print(f"c2p: {error}", file=sys.stderr)
        return error.exit_code
    from c2p_core import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
