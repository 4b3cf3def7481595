"""Protect Face: sets itself up and protects a photo, or runs its tests. ``python3 install.py --help`` says more.

Needs nothing but Python 3.10; this file parses on any Python, so that an older one can say so.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036
    needed = "Protect Face needs Python 3.10 or newer and this is {}.{}; run install.py with a newer Python."
    sys.exit(needed.format(*sys.version_info))

from installer.main import main

if __name__ == "__main__":
    sys.exit(main())
