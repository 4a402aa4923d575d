"""One benchmark: its inputs, and each section's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
import os
from pathlib import Path
import platform
from typing import Any

from diffseg_ros.backbones.base import AttentionBackbone, Backbone
from diffseg_ros.backbones.device import resolve_device
from diffseg_ros.backbones.loader import load_backbone
from diffseg_ros.benchmark.cut import affinities, measure_cut, measure_growth
from diffseg_ros.benchmark.inputs import photo_frames, resized, scene_frames
from diffseg_ros.benchmark.merging import measure_merging
from diffseg_ros.benchmark.methods import measure_methods
from diffseg_ros.benchmark.stages import measure_cloud, measure_pipeline, measure_tracking
from diffseg_ros.config import PipelineConfig, SegmentationConfig
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.segmentation.attention_aggregation import aggregate_attention
from diffseg_ros.types import Frame
import torch

CUT_TOKENS, MERGE_TOKENS = 1024, 4096
GROWTH = (256, 1024, 2304, 4096)
DIFFCUT: dict[str, Any] = {'alpha': 10.0, 'tau': 0.5, 'colour': 0.0, 'position': 0.0,
                           'geometry': 0.0, 'attention': 0.0, 'centre': True}
SLOWEST_REFERENCE = 2304
"""Tokens beyond which `--growth` leaves the references out."""


def _methods(raw: Backbone, backbone: Backbone, published: SegmentationConfig,
             settings: SegmentationConfig) -> dict[str, tuple[Backbone, SegmentationConfig]]:
    methods = {'regions': (backbone, replace(settings, method='regions'))}
    for method in ('diffcut', 'kway'):
        methods[method] = backbone, replace(settings, method=method)
        methods[f'{method}_alone'] = raw, replace(published, method=method)
    methods['kway_alone_pamr'] = raw, replace(published, method='kway', refinement='pamr')
    return methods


class Benchmark:
    """Measures the sections one by one; what they share is made once."""

    def __init__(self, config: PipelineConfig, *, shape: str | None = None,
                 tiny_vae: bool = False, photos: Sequence[Path] = (),
                 quick: bool = False) -> None:
        """
        Check the inputs.

        Parameters
        ----------
        config
            Model, device and settings of the stages.
        shape
            A key of `shapes.SHAPES` whose random weights replace the model in the pipeline.
        tiny_vae
            Whether that shape encodes photos by an AutoencoderTiny.
        photos
            Cut besides the generated frames.
        quick
            Small inputs and few repetitions.

        Raises
        ------
        DiffsegError
            A photo cannot be read, or the device does not exist.

        """
        self._config = config
        self._shape = shape
        self._tiny_vae = tiny_vae
        self._quick = quick
        self._device = resolve_device(config.backbone.device)
        self._photos = photo_frames(photos)
        self._model = config.backbone.model

    @cached_property
    def _frames(self) -> list[Frame]:
        frames = scene_frames(2 if self._quick else 4)
        return [resized(frame, 160, 120) for frame in frames] if self._quick else frames

    def segmentation(self) -> dict[str, Any]:
        """
        Time both methods on real features and attention of the embedded model or `model`.

        `normalized_cut` cuts DiffCut's affinity of the features alone (centred, which the
        embedded model needs), `normalized_cut_cues` that of the settings. `methods` has the
        whole stage, from features to pixels, by method; `diffcut_alone` and the like cut the
        features alone.
        """
        tokens, merge_tokens = (96, 96) if self._quick else (CUT_TOKENS, MERGE_TOKENS)
        frames, settings = [*self._frames, *self._photos], self._config.segmentation
        raw, backbone = self._load(tokens, whiten=False), self._load(tokens)
        rounds = 1 if self._quick else 2
        published = replace(settings, **DIFFCUT)
        cuts = {'normalized_cut': measure_cut(affinities(frames, raw, published), published.tau,
                                              rounds, self._device),
                'normalized_cut_cues': measure_cut(affinities(frames, backbone, settings),
                                                   settings.tau, rounds, self._device)}
        attention = self._attention(merge_tokens)
        merging = measure_merging(attention, settings.merge_threshold, rounds)
        methods = measure_methods(self._frames, _methods(raw, backbone, published, settings),
                                  rounds)
        return {**cuts, 'attention_merging': merging, 'methods': methods}

    def growth(self) -> dict[str, Any]:
        """Time both methods at rising numbers of tokens."""
        cut, merging = [], []
        for tokens in (48, 96) if self._quick else GROWTH:
            slow = tokens <= SLOWEST_REFERENCE
            graph = affinities(self._frames[:1], self._load(tokens),
                               self._config.segmentation)[0]
            cut.append(measure_growth(graph, self._config.segmentation.tau, 3, reference=slow,
                                      device=self._device))
            attention = self._attention(tokens)
            merging.append(measure_merging(attention, self._config.segmentation.merge_threshold,
                                           3, reference=slow))
        return {'normalized_cut': cut, 'attention_merging': merging}

    def pipeline(self) -> dict[str, Any]:
        """Time every stage on consecutive frames."""
        frames, backbone = self._frames, None
        if self._shape is not None:
            from diffseg_ros.benchmark.shapes import random_backbone, TOKENS_AT_512
            config = replace(self._config.backbone, tokens=TOKENS_AT_512)
            backbone = random_backbone(
                self._shape, config, tiny_vae=self._tiny_vae,
                attention=self._config.segmentation.needs_attention)
            frames = [resized(frame, 512, 512) for frame in frames]
            self._model = backbone.name
        pipeline = Pipeline(self._config, backbone=backbone)
        on_gpu = self._device.type == 'cuda'
        count = 4 if self._quick else 100 if on_gpu else 24
        return measure_pipeline(frames, pipeline, count)

    def cloud(self) -> dict[str, Any]:
        """Time the way from depth and labels to a message's bytes."""
        return measure_cloud(3 if self._quick else 30)

    def tracking(self) -> dict[str, Any]:
        """Time the tracker with 100 live tracks."""
        return measure_tracking(self._frames, self._config.tracking, 4 if self._quick else 50)

    def machine(self) -> dict[str, Any]:
        """Return what the figures depend on besides the code."""
        device = str(self._device)
        if self._device.type == 'cuda':
            device = f'{device} ({torch.cuda.get_device_name(self._device)})'
        return {'device': device, 'model': self._model, 'cpu': platform.processor()
                or platform.machine(), 'cores': os.cpu_count(),
                'threads': torch.get_num_threads(), 'quick': self._quick}

    def _load(self, tokens: int, *, attention: bool = False, whiten: bool = True) -> Backbone:
        config = self._config.backbone
        return load_backbone(replace(config, tokens=tokens, whiten=config.whiten and whiten),
                             attention=attention)

    def _attention(self, tokens: int) -> torch.Tensor:
        """Return the aggregated attention of a square view of about `tokens` tokens."""
        backbone = self._load(tokens, attention=True)
        assert isinstance(backbone, AttentionBackbone)
        frame = self._frames[0]
        side = min(frame.rgb.shape[:2])
        maps = backbone.features_and_attention(frame.rgb[:side, :side].copy())[1]
        return aggregate_attention(maps)
