# -*- coding: utf-8 -*-
"""Errors that nobody foresaw, as one sentence; their stack trace goes into a log, because GIMP shows nothing of it."""

from __future__ import unicode_literals

import os
import sys
import traceback

from worker_client.text_files import write_text
from worker_client.texts import _, as_text

LOG = str("protect-face.log")
UNCHANGED = _("Protect Face failed unexpectedly ({error}); nothing was changed, please report what {log} says.")
ALREADY_THERE = _("The new layer is there, but its figures can't be shown ({error}); please report what {log} says.")


def report_crash(template, error, folder):
    # type: (str, BaseException, str) -> str
    """One of the sentences above about the error that is being handled.

    Args:
        template: the sentence.
        error: what to name.
        folder: GIMP's own, for the log.
    """
    log = os.path.join(folder, LOG)
    trace = as_text(traceback.format_exc())
    try:
        write_text(log, trace)
    except (IOError, OSError):
        sys.stderr.write(str(trace))
    return template.format(error=type(error).__name__, log=as_text(log))
