"""The real worker with ``fake_compute``; ``--tune`` sets constants of its server and streams: tests need not wait."""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "plugin")]

from worker_client import transport  # noqa: E402

from c2p_core.worker import run, server  # noqa: E402

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path)
    parser.add_argument("--idle", type=float, default=600)
    parser.add_argument("--tcp", action="store_true")
    parser.add_argument("--tune", type=json.loads, default={})
    parser.add_argument("--broken", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--stop", action="store_true")
    options = parser.parse_args()
    if options.stop:
        sys.exit(run.main(["--run", str(options.run), "--stop"]))
    for name, value in options.tune.items():
        module = server if hasattr(server, name) else transport
        assert hasattr(module, name)
        setattr(module, name, value)
    compute = [sys.executable, "-I", "-u", str(HERE / "fake_compute.py"), *(["--fail"] if options.broken else [])]
    compute += ["--slow"] if options.slow else []
    sys.exit(run.run(options.run, options.idle, options.tcp, compute))
