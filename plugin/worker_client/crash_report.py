# -*- coding: utf-8 -*-
"""Unexpected errors as one sentence; their stack trace goes into a log, because GIMP does not show it."""

from __future__ import unicode_literals

import os
import sys
import traceback

from worker_client.messages import Message
from worker_client.text_files import write_text
from worker_client.texts import as_text, to_sentence

LOG = str("protect-face.log")


def report_crash(code, error, folder):
    # type: (str, BaseException, str) -> str
    """The sentence on the error that is being handled, for the user.

    Args:
        code: "crashed-unchanged" or "crashed-after-layer".
        error: what to name.
        folder: GIMP's own, for the log.
    """
    log = os.path.join(folder, LOG)
    trace = as_text(traceback.format_exc())
    try:
        write_text(log, trace)
    except (IOError, OSError):
        sys.stderr.write(str(trace))
    return to_sentence(Message(code, error=type(error).__name__, log=as_text(log)))
