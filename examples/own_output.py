"""
Run the node with an output topic of your own: ~/largest, the id of the largest segment in view.

    python examples/own_output.py --ros-args -r rgb/image_raw:=/camera/image_raw
    ros2 topic echo /diffseg/largest

The function is called only while somebody subscribes. In a package of your own, name the file as
an entry point of the group diffseg_ros.outputs and start diffseg_node as usual.
"""

import sys

import diffseg_ros as ds
from diffseg_ros.cli.node import main
import numpy as np
from std_msgs.msg import Int32


@ds.register_output('largest', message=Int32)
def largest(context):
    """Return the id of the largest segment, or no message where nothing is labelled."""
    ids, sizes = np.unique(context.result.labels, return_counts=True)
    labelled = ids != ds.UNLABELLED
    if not labelled.any():
        return None
    return Int32(data=int(ids[labelled][sizes[labelled].argmax()]))


if __name__ == '__main__':
    sys.exit(main())
