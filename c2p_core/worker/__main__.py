"""``python -m c2p_core.worker``: starts the worker, as plug-ins do."""

import sys

from c2p_core.worker.run import main

if __name__ == "__main__":
    sys.exit(main())
