"""
Segment an image with features of your own.

    python examples/own_backbone.py image.jpg overlay.jpg

A backbone is a class with a name, a device and `features`. Here the features are gradients of
brightness; put your own network in their place.
"""

import sys

import diffseg_ros as ds
import torch
from torch.nn import functional


@ds.register_backbone('gradients')
class Gradients:
    """Mean horizontal and vertical gradients on the token grid."""

    name = 'gradients'
    device = torch.device('cpu')

    def __init__(self, settings, config):
        self.tokens = config.tokens

    def features(self, rgb):
        """Return (4, h, w) float32 features of a (H, W, 3) uint8 image."""
        grey = torch.from_numpy(rgb).float().mean(dim=2)[None, None] / 255
        steps = functional.pad(grey, (1, 1, 1, 1), mode='replicate')
        across = steps[..., 1:-1, 2:] - steps[..., 1:-1, :-2]
        down = steps[..., 2:, 1:-1] - steps[..., :-2, 1:-1]
        maps = torch.cat([across, down, across.abs(), down.abs()], dim=1)
        side = (rgb.shape[0] * rgb.shape[1] / self.tokens) ** 0.5
        grid = [max(2, round(size / side)) for size in rgb.shape[:2]]
        return functional.interpolate(maps, grid, mode='area')[0]


def main(image, output):
    """Draw the segments of one image."""
    config = ds.updated(ds.PipelineConfig(), {'backbone.model': 'gradients'})
    frame = ds.Frame(ds.read_image(image))
    segments = ds.Pipeline(config).segment(frame)
    ds.write_image(output, ds.draw_overlay(frame.rgb, segments.labels))
    print(f'{segments.labels.max() + 1} segments, into {output}')


if __name__ == '__main__':
    main(*sys.argv[1:])
