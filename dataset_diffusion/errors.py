"""The one exception that a user is meant to read."""


class InputError(Exception):
    """Something the user gave (a setting, a file, a folder) cannot be used.

    The message is one line that names the file, the line or the setting, and says what to do. The commands print
    it without a traceback and exit with status 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the exception's name if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason(error: Exception) -> str:
    """What went wrong, without the path that an OSError repeats."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
