"""What went wrong in a way that the person at the keyboard can mend."""


class Failure(Exception):
    """Expected, and not a bug: `str` is one sentence that says what to do about it.

    The command line prints it without a traceback and ends with exit code 1.
    """
