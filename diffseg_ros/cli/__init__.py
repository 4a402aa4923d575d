"""The commands. Ctrl-C while their imports take their second is one line, no traceback."""

import sys
from types import TracebackType

_usual_hook = sys.excepthook


def _tell_interrupt(kind: type[BaseException], error: BaseException,
                    trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print('interrupted', file=sys.stderr)
    else:
        _usual_hook(kind, error, trace)


sys.excepthook = _tell_interrupt
