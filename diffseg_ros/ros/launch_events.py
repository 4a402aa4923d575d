"""What the launch files do when the process that feeds the node ends."""

from __future__ import annotations

from typing import Any


def end_launch_on_failure(event: Any, context: Any) -> None:
    """
    End the launch, with an exit code that says so, when the player ended with an error.

    For `on_exit` of launch actions. A player that came to its end, or was ended along with
    the launch, changes nothing.

    Raises
    ------
    RuntimeError
        The player failed: `launch` has no other way to a code that is not 0.

    """
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f'{event.process_name} ended with exit code {event.returncode}, for '
                           'the reason it gives above; nothing feeds the node, so all is ended')
