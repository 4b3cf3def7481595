"""The one error of the client."""


class WorkerProblem(Exception):
    """Something that the user has to know, in one sentence that says what to do.

    ``code`` tells programs which one: "not-installed", "not-started", "sandbox", "version", "refused", "gone", "bad".
    """

    def __init__(self, code, sentence):
        # type: (str, str) -> None
        Exception.__init__(self, sentence)
        self.code = code
        self.sentence = sentence
