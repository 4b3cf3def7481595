"""What goes wrong, in one sentence for the user."""

import sys


class WorkerProblem(Exception):
    """Something that the user has to know, in one sentence that says what to do.

    Attributes:
        code: tells programs which one; ``docs/worker-protocol.md`` lists them.
        sentence: text for the user (unicode in Python 2, whatever language paths are in).
    """

    def __init__(self, code, sentence):
        # type: (str, str | bytes) -> None
        text = sentence.decode("utf-8", "replace") if isinstance(sentence, bytes) else sentence
        Exception.__init__(self, text.encode("utf-8") if sys.version_info[0] == 2 else text)
        self.code = code
        self.sentence = text


class Refused(WorkerProblem):
    """Ends a procedure before or after the worker's part of it: in the user's language, and the image is as it was."""

    def __init__(self, sentence):
        # type: (str | bytes) -> None
        WorkerProblem.__init__(self, "refused", sentence)
