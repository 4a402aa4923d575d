"""What suits each kind of model and each method, for the settings that a user leaves open."""

from __future__ import annotations

from typing import Any, TypeVar

from diffseg_ros.settings import flatten, Settings, updated

KINDS = EMBEDDED, PIXEL, SD1, SD2, SDXL, IMAGENET, DINO, OTHER = (
    'embedded', 'pixel', 'sd1', 'sd2', 'sdxl', 'imagenet', 'dino', 'other')
"""Kinds of models: trained by diffseg_train with and without a projector; latent U-Nets of the
shapes of Stable Diffusion 1.x, 2.x and XL (SSD-1B too); the classifier of the extra [names];
DINOv2 and DINOv3; registered ones that do not say."""

LCM, TURBO = 'lcm', 'turbo'
"""Ways of distillation, appended to a kind as in 'sdxl-turbo'."""

_TRAINED_TIMESTEPS = {LCM: range(19, 1000, 20), TURBO: range(249, 1000, 250)}
# Luo et al., "Latent Consistency Models", 2023; Sauer et al., "Adversarial Diffusion
# Distillation", ECCV 2024.

_LATENT = SD1, SD2, SDXL
_CUT = 'segmentation.cut.'
_REGIONS = 'segmentation.regions.'

_Values = dict[str, Any]
_ROWS: tuple[tuple[tuple[str, ...], tuple[str, ...], _Values], ...] = (
    ((), (), {
        'backbone.tokens': 768, 'backbone.timestep': 50, 'backbone.noise': True,
        'segmentation.method': 'regions', 'segmentation.centre': True,
        _REGIONS + 'features': 10.0, _REGIONS + 'threshold': 0.03,
        _CUT + 'tau': 0.25, _CUT + 'alpha': 5.0, _CUT + 'colour': 50.0, _CUT + 'position': 20.0,
        _CUT + 'geometry': 200.0, 'segmentation.diffseg.threshold': 1.0}),
    ((EMBEDDED, PIXEL), (), {'backbone.timestep': 10, 'segmentation.diffseg.threshold': 0.03}),
    # The embedded model imitates the features of the other.
    ((EMBEDDED, IMAGENET), (), {
        'backbone.tokens': 1200, _REGIONS + 'features': 7.0, _REGIONS + 'threshold': 0.08}),
    # 448 pixels along the longer side of a VGA image; the grid of DINOv2's training.
    ((IMAGENET,), (), {'backbone.tokens': 2352}),
    ((DINO,), (), {'backbone.tokens': 1369}),
    (_LATENT, (), {
        'segmentation.method': 'kway', _CUT + 'tau': 0.3, _CUT + 'alpha': 10.0,
        _CUT + 'colour': 0.0, _CUT + 'position': 0.0, _CUT + 'geometry': 100.0}),
    (_LATENT, ('kway', 'diffcut'), {'segmentation.centre': False}),
    ((SDXL,), (), {'backbone.tokens': 1024}),
    # As published, but for how segments of tokens are brought to pixels.
    (_LATENT, ('diffcut',), {'backbone.tokens': 1024, _CUT + 'geometry': 0.0}),
    ((SD1, SD2), ('diffcut',), {_CUT + 'tau': 0.2}),
    ((SDXL,), ('diffcut',), {_CUT + 'tau': 0.5}),
    (_LATENT, ('diffseg',), {'backbone.timestep': 300, 'backbone.noise': False}),
    ((SD1, SD2), ('diffseg',), {'backbone.tokens': 256}),
)
"""Kinds (all where there are none), methods, values; later rows win."""

_Settings = TypeVar('_Settings', bound=Settings)


def model_defaults(kind: str, method: str = 'auto') -> dict[str, Any]:
    """
    Return the values that suit a kind of model and a method, by their dotted names.

    `kind` is one of those above, `method` a registered one or 'auto'.
    """
    family, _, distilled = kind.partition('-')
    values: _Values = {}
    for kinds, methods, row in _ROWS:
        chosen = values.get('segmentation.method') if method == 'auto' else method
        if family in (kinds or (family,)) and chosen in (methods or (chosen,)):
            values |= row
    if distilled:
        values['backbone.timestep'] = min(
            _TRAINED_TIMESTEPS[distilled],
            key=lambda timestep: abs(timestep - values['backbone.timestep']))
    return values if method == 'auto' else values | {'segmentation.method': method}


def with_model_defaults(settings: _Settings, kind: str, method: str = 'auto',
                        section: str = '') -> _Settings:
    """Return the settings with those left open, at their 'auto', -1 or 0, as suits the model."""
    opened = open_settings(settings, section)
    return updated(settings, {name.removeprefix(section): value
                              for name, value in model_defaults(kind, method).items()
                              if name in opened})


def open_settings(settings: Settings, section: str = '') -> set[str]:
    """Return the dotted names of the settings that are left to the model and the method."""
    defaults = {name: value for name, value, _ in flatten(type(settings)(), section)}
    known = model_defaults(OTHER)
    return {name for name, value, _ in flatten(settings, section)
            if name in known and value == defaults[name] and type(value) is type(defaults[name])}
