"""The one error of the client."""

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
