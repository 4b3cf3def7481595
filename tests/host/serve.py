"""Runs in GIMP's own Python, 2.7 too: one script of the host tests after the other, until they hang up."""

import gc
import os
import socket
import sys
import traceback


def serve(clean_up):
    """Runs every script whose path comes through the socket ``CONSOLE``, in a namespace of its own.

    Args:
        clean_up: called after each, so that the next one finds GIMP as if it had just been started.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ["CONSOLE"])
    for line in connection.makefile("rb"):
        succeeded = _run(line.decode("utf-8").rstrip("\n"))
        # Objects of GIMP's that the script left write to their images when they go.
        gc.collect()
        clean_up()
        sys.stdout.flush()
        connection.sendall(b"+" if succeeded else b"-")


def _run(path):
    """Whether the script did not raise; what it raised is printed."""
    try:
        with open(path) as stream:  # noqa: PTH123 - Python 2.7 has no pathlib
            code = compile(stream.read(), path, "exec")
        exec(code, {"__name__": "script"})
    except Exception:
        traceback.print_exc()
        return False
    return True
