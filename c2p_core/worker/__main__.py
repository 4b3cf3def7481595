"""``python -m c2p_core.worker``: the worker's process, as plug-ins start it."""

import sys

from c2p_core.worker.run import main

if __name__ == "__main__":
    sys.exit(main())
