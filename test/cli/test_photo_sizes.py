"""Labels come at the size of the photo, whatever it is."""

from types import SimpleNamespace

from diffseg_ros.cli import photo_sizes
from diffseg_ros.cli.photo_sizes import segment_photo
import numpy as np
import pytest


class Halves:
    """Gives each half of an image, which must be a frame, a label."""

    def __init__(self):
        self.sizes = []

    def segment(self, frame):
        height, width = frame.rgb.shape[:2]
        self.sizes.append((width, height))
        labels = np.repeat(np.arange(width)[None] >= width // 2, height, axis=0)
        return SimpleNamespace(labels=labels.astype(np.int32))


@pytest.mark.parametrize(('width', 'height', 'seen'), [
    (1, 1, (2, 2)), (1, 9, (2, 9)), (9, 1, (9, 2)), (16, 16, (16, 16)), (400, 100, (200, 50)),
    (4000, 2, (2000, 2))])
def test_labels_have_the_size_of_the_photo(monkeypatch, width, height, seen):
    monkeypatch.setattr(photo_sizes, '_MOST_PIXELS', 10_000 if height > 2 else 2_000)
    pipeline = Halves()
    labels = segment_photo(pipeline, np.zeros((height, width, 3), np.uint8))
    assert labels.shape == (height, width) and labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert pipeline.sizes == [seen]
    if width > 2:
        assert (labels[:, :width // 2 - 1] == 0).all() and (labels[:, width // 2 + 1:] == 1).all()
