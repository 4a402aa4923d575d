"""Errors that a user can act on."""


class DiffsegError(Exception):
    """
    An input or a setting that cannot be used.

    The message is one line that names the thing, what was got, what is supported and
    what to do. Commands print it to stderr and exit with code 2.
    """


class WriteError(DiffsegError):
    """A file cannot be written (full disk, no permission): the next one cannot either."""
