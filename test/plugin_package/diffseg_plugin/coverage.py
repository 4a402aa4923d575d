"""A measure: mean share of labelled pixels."""

import diffseg_ros as ds


class CoverageSettings(ds.Settings):
    """How the share is given."""

    scale: float = ds.setting(1.0, 'factor of the share, such as 100 for percent', 1.0, 100.0)


@ds.register_measure('coverage', CoverageSettings, commands=('masks', 'tracks'))
class Coverage:
    """Mean share of pixels that have a label."""

    def __init__(self, settings):
        self._scale = settings.scale
        self.reset()

    def reset(self):
        """Begin anew."""
        self._shares = []

    def update(self, observation):
        """Take one frame."""
        self._shares.append(self._scale * float((observation.labels >= 0).mean()))

    def compute(self):
        """Return the figures of the report."""
        return {'coverage': sum(self._shares) / len(self._shares) if self._shares else None}
