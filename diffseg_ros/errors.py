"""Errors that a user can act on."""

import re


class DiffsegError(Exception):
    """
    An input or a setting that cannot be used.

    The message is one line that names the thing, what was got, what is supported and
    what to do. Commands print it to stderr and exit with code 2. Control characters in
    it, as line breaks of a file's name, are shown as escapes.
    """

    def __str__(self) -> str:
        """Return the message as one line, without control characters."""
        return re.sub(r'[\x00-\x1f\x7f]', lambda found: repr(found[0])[1:-1], super().__str__())


class UsageError(DiffsegError):
    """What the user asked for does not fit the input, so that going on makes no sense."""


class WriteError(DiffsegError):
    """A file cannot be written (full disk, no permission): the next one cannot either."""
