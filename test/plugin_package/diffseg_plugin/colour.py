"""A backbone whose features are mean colours."""

import diffseg_ros as ds


class ColourSettings(ds.Settings):
    """How colours become features."""

    gain: float = ds.setting(1.0, 'factor of the colours', 0.1, 10.0, live=False)


@ds.register_backbone('colour', ColourSettings)
class Colour:
    """Mean colours on the token grid."""

    name = 'colour'

    def __init__(self, settings, config):
        import torch

        self.device = torch.device('cpu')
        self._gain = settings.gain
        self._tokens = config.tokens or 768

    def features(self, rgb):
        """Return the (3, h, w) float32 mean colours."""
        import torch

        height, width = rgb.shape[:2]
        side = (height * width / self._tokens) ** 0.5
        image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
        grid = max(1, round(height / side)), max(1, round(width / side))
        return torch.nn.functional.interpolate(image, grid, mode='area')[0] * self._gain
