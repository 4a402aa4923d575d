"""Exceptions as text for logs and diagnostics."""

from __future__ import annotations

import re

from diffseg_ros.errors import DiffsegError
from diffseg_ros.gpu_memory import is_out_of_gpu_memory


def describe_error(error: BaseException) -> str:
    """Return an exception as one line that says what to do, as far as that is known."""
    reason = ' '.join(str(error).split())
    if isinstance(error, DiffsegError) and reason:
        return reason
    if is_out_of_gpu_memory(error):
        return ('GPU out of memory; lower backbone.tokens, set backbone.precision to float16, or '
                f'end what else uses the GPU ({reason})')
    return f'{type(error).__name__}: {reason}' if reason else type(error).__name__


def printable(name: object) -> str:
    """Return a file name for texts, with replacement characters where it is not UTF-8."""
    return str(name).encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')


def without_numbers(text: str) -> str:
    """Return a text with its decimal numbers replaced, to compare texts that differ in them."""
    return re.sub(r'[-+]?\d+(\.\d+)?', 'N', text)
