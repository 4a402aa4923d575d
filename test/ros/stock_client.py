"""
A client in a process of its own, on what transport profile its environment says.

It sends frames to the node and takes the labels; printed are the stamps that came back and the
threads of its own Fast DDS.
"""

from __future__ import annotations

import os
from pathlib import Path

from node_rig import Client, stamps


def thread_names(process: int | str = 'self') -> set[str]:
    """Return the names of the threads of a process."""
    return {path.read_text().strip() for path in Path(f'/proc/{process}/task').glob('*/comm')}


def main() -> None:
    client = Client(int(os.environ['ROS_DOMAIN_ID']))
    client.subscribe('labels')
    client.ready()
    for number in range(3):
        client.send(number)
        client.until(lambda: number in stamps(client.got['labels']))
    print(*stamps(client.got['labels']), *sorted(thread_names()), sep='\n')
    client.close()


if __name__ == '__main__':
    main()
