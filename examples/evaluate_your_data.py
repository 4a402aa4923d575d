"""
Score masks on your own images, with a measure of your own beside the standard ones.

    python examples/evaluate_your_data.py my_data report.json

my_data/images holds JPEG or PNG images, my_data/labels a PNG of the same name for each: a class
per pixel, 255 where nothing is to be scored.
"""

import sys

import diffseg_ros as ds
from diffseg_ros.cli.evaluate import main as evaluate


@ds.register_measure('segment_size', commands=('masks',))
class SegmentSize:
    """Mean size of a segment as a share of the image."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Begin a new data set."""
        self.shares = []

    def update(self, observation):
        """Take the segments of one image."""
        self.shares.append(1 / (observation.labels.max() + 1))

    def compute(self):
        """Return what appears in the table and in the report, None before the first image."""
        return {'segment_size': sum(self.shares) / len(self.shares) if self.shares else None}


def main(data, report):
    """Evaluate the default settings; returns the exit code of the command."""
    return evaluate(['masks', data, '--json', report])


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
