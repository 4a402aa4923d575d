"""A measure: mean share of labelled pixels."""

import diffseg_ros as ds


@ds.register_measure('coverage', commands=('masks', 'tracks'))
class Coverage:
    """Mean share of pixels that have a label."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Begin anew."""
        self._shares = []

    def update(self, observation):
        """Take one frame."""
        self._shares.append(float((observation.labels >= 0).mean()))

    def compute(self):
        """Return the figures of the report."""
        return {'coverage': sum(self._shares) / len(self._shares) if self._shares else None}
