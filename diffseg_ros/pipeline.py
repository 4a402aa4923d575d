"""
The order of the stages: a frame goes in, labelled pixels with persistent ids come out.

Tracks are propagated into every frame. Only where too much of it is new, or the last segments
are too old, is it a keyframe: features and segments follow, which correct the tracks, at once or,
where frames must not wait for them, some frames later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
import math
import os
from pathlib import Path
import time
from typing import Generic, NamedTuple, TypeVar

from diffseg_ros.backbones.base import Backbone, observe
from diffseg_ros.backbones.loader import load_backbone, model_kind
from diffseg_ros.config import PipelineConfig
from diffseg_ros.depth.base import DepthModel
from diffseg_ros.depth.estimator import DepthEstimator, Predicted
from diffseg_ros.depth.loader import load_depth_model
from diffseg_ros.errors import DiffsegError
from diffseg_ros.model_defaults import EMBEDDED, open_settings, OTHER, with_model_defaults
from diffseg_ros.naming.base import NamingModel
from diffseg_ros.naming.loader import load_naming_model
from diffseg_ros.naming.namer import TrackNamer
from diffseg_ros.parameter_file import pipeline_config_from_file
from diffseg_ros.registry import segmentation_methods
from diffseg_ros.segmentation.base import SegmentationMethod, SegmentationSettings
from diffseg_ros.segmentation.scene_objects import with_kinds
from diffseg_ros.settings import flatten
from diffseg_ros.threads import one_blas_thread, yield_to_others
from diffseg_ros.time_rules import clock_jumped_back
from diffseg_ros.tracking.memory_file import read_memory, write_memory
from diffseg_ros.tracking.saved_places import PlaceState
from diffseg_ros.tracking.tracker import Prediction, Tracker
from diffseg_ros.types import Found, Frame, LabelImage, Result, Segments, Target, UNLABELLED
import torch


def create_method(config: SegmentationSettings, kind: str = EMBEDDED) -> SegmentationMethod:
    """Return the method that the settings name, for a kind of model, without memory."""
    config = with_model_defaults(config, kind, config.method, 'segmentation.')
    entry = segmentation_methods.get(config.method)
    method: SegmentationMethod = entry.create(
        config.section(entry.section) if entry.settings else None, config)
    return method


def kind_of(backbone: Backbone) -> str:
    """Return the kind of a model, as in `model_defaults`."""
    return str(getattr(backbone, 'kind', OTHER))


class Pipeline:
    """Diffusion features, segments, tracks; one instance sees one camera's frames in order."""

    def __init__(self, config: PipelineConfig | str | os.PathLike[str] | None = None, *,
                 backbone: Backbone | None = None, naming_model: NamingModel | None = None,
                 depth_model: DepthModel | None = None, first_id: int = 1,
                 background: bool = False) -> None:
        """
        Load the backbone that `config` names, unless one is given.

        Parameters
        ----------
        config
            Settings, or the path of a ROS parameter file such as the node takes.
        backbone, naming_model, depth_model
            Models that are loaded already; the second counts only where naming is on, the third
            where `depth.model` is set.
        first_id
            Ids rise from here; a process that loads one pipeline after another gives the
            `next_id` of the last, so that no id is used twice.
        background
            Whether keyframes are segmented in another thread, one at a time, while frames go on:
            their segments correct the frame at hand when they are there, carried to it. Predicted
            depth comes in the same way. What comes when is then left to chance;
            `tracking.segments_delay` is not used. Where cores are short, frames come first.

        Raises
        ------
        DiffsegError
            The file cannot be used, or the model cannot be loaded.

        """
        if config is None:
            config = PipelineConfig()
        elif not isinstance(config, PipelineConfig):
            config = pipeline_config_from_file(config)
        self._apply(config, kind_of(backbone) if backbone else model_kind(config.backbone))
        self._backbone = backbone or load_backbone(self._config.backbone,
                                                   attention=self._method.needs_attention)
        self._tracker = Tracker(config.tracking, first_id)
        self._namer = self._load_namer(naming_model, background)
        self._depth = self._load_depth(depth_model)
        self._last_stamp: int | None = None
        self._thread = (ThreadPoolExecutor(1, 'diffseg_keyframes', yield_to_others)
                        if background else None)
        self._depth_thread = self._thread_for_depth() if background and self._depth else None
        self._job: _Job[_Segmented] | None = None
        self._depth_job: _Job[tuple[Predicted | None, float]] | None = None
        self._number = 0
        self._labels: LabelImage | None = None
        self._loaded = self._saved = 0

    def _load_namer(self, model: NamingModel | None, background: bool) -> TrackNamer | None:
        settings = self._config.naming
        if not settings.model:
            return None
        model = model or load_naming_model(settings.model, self._config.backbone)
        return TrackNamer(model, settings, background=background)

    def _load_depth(self, model: DepthModel | None) -> DepthEstimator | None:
        settings = self._config.depth
        if not settings.model:
            return None
        model = model or load_depth_model(settings.model, settings, self._config.backbone)
        return DepthEstimator(model, settings)

    def _thread_for_depth(self) -> ThreadPoolExecutor | None:
        """Return the thread of depth: its own, so that segments do not wait for a slow model."""
        if self._backbone.device.type != 'cpu':
            return self._thread  # both at once may not fit into the memory of a GPU
        return ThreadPoolExecutor(1, 'diffseg_depth', yield_to_others)

    @property
    def backbone(self) -> Backbone:
        """The model that looks at the frames; its `name` and `device` go into reports."""
        return self._backbone

    @property
    def model(self) -> dict[str, str]:
        """
        Name, device and kind of the model, for reports.

        'model_settings' are those that the user left open and that the method uses, with their
        values.
        """
        method = self._config.segmentation.method
        used = ('backbone', 'segmentation', 'segmentation.'
                + segmentation_methods.get(method).section)
        chosen = (f'{name} {value}' for name, value, _ in flatten(self._config)
                  if name in self._open and name.rpartition('.')[0] in used)
        return {'device': str(self._backbone.device), 'model': self._backbone.name,
                'model_kind': kind_of(self._backbone), 'model_settings': ', '.join(chosen)}

    @property
    def naming(self) -> dict[str, str]:
        """
        How naming goes, for reports; empty where it is off.

        The model, the words that it does not know, the pictures that it failed at, and why it did
        at the last ones, '' if it did not.
        """
        return self._namer.report if self._namer else {}

    @property
    def depth(self) -> dict[str, str]:
        """How predicting depth goes, as `DepthEstimator` reports; empty where it is off."""
        return self._depth.report if self._depth else {}

    @property
    def track_count(self) -> int:
        """How many tracks were ever started."""
        return self._tracker.started

    @property
    def next_id(self) -> int:
        """Id that the next track will get."""
        return self._tracker.next_id

    def configure(self, config: PipelineConfig) -> None:
        """Apply changed settings from the next frame on; the backbone stays as loaded."""
        if self._namer:
            self._namer.configure(config.naming)
        if self._depth:
            self._depth.configure(config.depth)
        self._apply(config, kind_of(self._backbone))
        self._tracker.configure(config.tracking)

    def _apply(self, config: PipelineConfig, kind: str) -> None:
        """Take over settings, with what suits a kind of model where they are left open."""
        self._open = open_settings(config)
        self._config = with_model_defaults(config, kind, config.segmentation.method)
        self._method = create_method(self._config.segmentation, kind)

    def reset(self) -> None:
        """Forget all tracks and begin a new epoch; ids go on rising."""
        self._last_stamp = self._labels = None
        self.finish()
        self._method.reset()
        self._tracker.reset()
        self._reset_models()

    def _reset_models(self) -> None:
        """Let naming and depth forget what they saw."""
        for part in (self._namer, self._depth):
            if part:
                part.reset()

    def follow(self, pixel: tuple[float, float], labels: LabelImage | None = None) -> Target:
        """
        Follow the object at a pixel as the target; what is followed already stays part of it.

        `Result.target` says where it is from the next frame on, until `unfollow`, `reset` or
        `load`. Tracks that are merged with one of its tracks, that are split from one, or that
        move as one with it are part of it too; what stands still while it moves is not.

        Parameters
        ----------
        pixel
            x (right) and y (down) in the image; the middle of the first pixel is (0, 0).
        labels
            (H, W) int32 ids that the pixel is of, those of an earlier result of this epoch; None
            for the last one.

        Returns
        -------
        Target
            It, as it is in the last frame.

        Raises
        ------
        DiffsegError
            There was no frame yet in this epoch, or the pixel is outside the image or on no
            segment. What is followed stays the same.

        """
        if self._labels is None:
            raise DiffsegError('follow: no frame was processed in this epoch yet; process one '
                               'first')
        label = _label_at(pixel, self._labels if labels is None else labels)
        target = self._tracker.follow(label, self._labels)
        if target is None:
            raise DiffsegError(f'segment {label} is gone by now; choose another one')
        return target

    def unfollow(self) -> None:
        """Follow nothing."""
        self._tracker.unfollow()

    def finish(self) -> None:
        """Wait for the keyframe that is segmented or predicted, if there is one, and forget it."""
        if self._job is not None:
            wait([self._job.result])
        if self._depth_job is not None:
            wait([self._depth_job.result])
        self._job = self._depth_job = None
        self._tracker.give_up()

    @property
    def memory(self) -> dict[str, str]:
        """
        What was loaded and saved, for reports.

        The tracks loaded, those of them seen since, what is known of their places ('unknown' until
        enough is seen, then 'found' or 'refused'), and the tracks saved last.
        """
        return {'memory_loaded': str(self._loaded),
                'memory_found_again': str(self._tracker.found_again),
                'memory_places': self._tracker.saved_places.value,
                'memory_saved': str(self._saved)}

    def load_at_start(self, file: str) -> str:
        """
        Load a file, if it is there; return what to log.

        Raises
        ------
        DiffsegError
            The file cannot be used.

        """
        if not Path(file).expanduser().exists():
            return f'memory file {file}: not there yet; it is written at the end'
        return f'memory file {file}: {self.load(file)} tracks loaded'

    def save_at_end(self, file: str) -> str:
        """
        Save to a file; return what to log.

        It stays as it is without tracks, and where its places proved to be elsewhere.

        Raises
        ------
        DiffsegError
            There is something else at the path, or the file cannot be written.

        """
        if not self._tracker.tracks:
            return f'memory file {file}: no tracks, so it stays as it is'
        if self._tracker.saved_places is PlaceState.REFUSED:
            return f'memory file {file}: of another place, so it stays as it is'
        return f'memory file {file}: {self.save(file)} tracks saved'

    def save(self, path: str | os.PathLike[str]) -> int:
        """
        Write the tracks, how they look and where they are to a file; return how many there are.

        An earlier memory in the file is replaced; no other file is.

        Raises
        ------
        DiffsegError
            There is something else at `path`, or the file cannot be written.

        """
        memory = self._tracker.memory(self._features)
        write_memory(Path(path).expanduser(), memory)
        self._saved = len(memory.ids)
        return self._saved

    def load(self, path: str | os.PathLike[str]) -> int:
        """
        Begin a new epoch with the tracks of a file that `save` wrote; return how many there are.

        What is seen again gets its old id: by its place where camera poses are known in the same
        world as then and surfaces agree, elsewhere by its looks. What is not sure gets a new id.

        Raises
        ------
        DiffsegError
            The file cannot be used, or is of another model. Nothing has changed then.

        """
        path = Path(path).expanduser()
        memory = read_memory(path)
        if memory.features != self._features:
            raise DiffsegError(f'memory file {path}: of the features {memory.features!r}; the '
                               f'pipeline has {self._features!r}: use that model and its '
                               'settings, or another file')
        self._last_stamp = self._labels = None
        self.finish()
        self._method.reset()
        self._tracker.load(memory)
        self._reset_models()
        self._loaded = len(memory.ids)
        return self._loaded

    @property
    def _features(self) -> str:
        """What the features of segments depend on; others cannot be compared with them."""
        settings = self._config.backbone
        values = {name: getattr(settings, name) for name in (
            'block', 'timestep', 'noise', 'ensemble', 'seed', 'whiten')}
        values['centre'] = self._config.segmentation.centre
        return ', '.join([f'{self._backbone.name} of the kind {kind_of(self._backbone)}',
                          *(f'{name} {value}' for name, value in values.items())])

    def segment(self, frame: Frame) -> Segments:
        """
        Segment one frame by itself; tracks are neither used nor changed.

        Raises
        ------
        DiffsegError
            The frame cannot be segmented.

        """
        features, attention = self._observe(frame)
        with one_blas_thread():
            method = create_method(self._config.segmentation, kind_of(self._backbone))
            return with_kinds(frame, method.segment(frame, features, None, attention))

    def process(self, frame: Frame) -> Result:
        """
        Track what the frame shows; on keyframes, correct the tracks by fresh segments.

        A stamp more than 0.5 s before that of the last frame begins a new epoch.

        Raises
        ------
        DiffsegError
            The frame cannot be segmented. The tracks are as they were predicted in it.

        """
        if clock_jumped_back(self._last_stamp, frame.stamp):
            self.reset()
        self._last_stamp = frame.stamp
        self._number += 1
        watch = _StopWatch()
        with one_blas_thread():
            prediction = self._tracker.predict(frame)
            watch.lap('tracking')
        if self._depth:
            self._depth.follow(self._tracker.source)
            watch.lap('depth')
        done = self._finished()
        if prediction.keyframe:
            done = self._begin(frame, prediction)
        watch.add(done.milliseconds if done else {})
        with one_blas_thread():
            labels, confidence = self._tracker.update(prediction, done and done.segments)
            target = self._tracker.target(labels)
            watch.lap('tracking')
        self._labels = labels
        if self._depth:
            frame = self._with_depth(self._depth, frame, prediction, watch)
        tracks, found = self._tracker.tracks, None
        if self._namer:
            tracks = self._namer.update(frame, labels, tracks, keyframe=done is not None)
            found = self._namer.found
            watch.lap('naming')
        return Result(frame, labels, confidence, self._tracker.epoch, watch.finish(),
                      done is not None, tracks, found, target)

    def find(self, words: str) -> Found:
        """
        Return how well words fit each track, in view or not, that naming has looked at.

        It may be called from another thread than `process`.

        Raises
        ------
        DiffsegError
            Naming is off, or its model does not know the words.

        """
        return self._naming().find(words)

    def look_for(self, words: str) -> None:
        """
        Have every result say in `found` what fits these words; '' ends it.

        Otherwise as `find`.
        """
        self._naming().look_for(words)

    def _naming(self) -> TrackNamer:
        if self._namer is None:
            raise DiffsegError('words cannot be looked for: naming is off; set naming.model')
        return self._namer

    def _begin(self, frame: Frame, prediction: Prediction) -> _Segmented | None:
        """Segment a keyframe; return the result if it takes effect in the frame itself."""
        delay = self._config.tracking.segments_delay
        # Without tracks there is nothing to go on with.
        if not prediction.has_tracks or not (delay or self._thread):
            return self._segment_keyframe(frame, prediction)
        prediction = self._tracker.wait_for(prediction)
        self._job = _Job.of(lambda: self._segment_keyframe(frame, prediction), self._thread,
                            self._number + delay)
        return None

    def _finished(self) -> _Segmented | None:
        """Return what the last keyframe was segmented to, if it is there and its time has come."""
        if self._job is None or not self._job.is_due(self._number):
            return None
        job, self._job = self._job, None
        if not self._tracker.waits:
            return None
        try:
            return job.result.result()
        except Exception:
            self._tracker.give_up()
            raise

    def _segment_keyframe(self, frame: Frame, prediction: Prediction) -> _Segmented:
        """Segment a frame, told where its tracks are predicted to be."""
        watch = _StopWatch()
        features, attention = self._observe(frame)
        watch.lap('features')
        with one_blas_thread():
            prior = self._tracker.prior(prediction, features)
            watch.lap('tracking')
            segments = with_kinds(frame, self._method.segment(frame, features, prior, attention))
            watch.lap('segmentation')
        return _Segmented(segments, watch.laps)

    def _with_depth(self, depth: DepthEstimator, frame: Frame, prediction: Prediction,
                    watch: _StopWatch) -> Frame:
        """Return a frame with the depth that is there; have that of a keyframe predicted."""
        laps = self._take_depth(depth)
        # A keyframe that comes while the model is at work has to do without.
        if prediction.keyframe and (self._depth_job is None or self._depth_job.result.done()):
            delay = self._config.tracking.segments_delay if prediction.has_tracks else 0
            self._depth_job = self._begin_depth(depth, frame, delay)
            laps |= self._take_depth(depth)
        watch.add(laps)
        frame = depth.give(frame)
        watch.lap('depth')
        return frame

    def _take_depth(self, depth: DepthEstimator) -> dict[str, float]:
        """Use the depth of the last keyframe if its time has come; return what it took."""
        if self._depth_job is None or not self._depth_job.is_due(self._number):
            return {}
        job, self._depth_job = self._depth_job, None
        predicted, milliseconds = job.result.result()
        depth.take(predicted)
        return {'depth': milliseconds}

    def _begin_depth(self, depth: DepthEstimator, frame: Frame,
                     delay: int) -> _Job[tuple[Predicted | None, float]]:
        """Have the depth of a keyframe predicted, if it is wanted, and the milliseconds noted."""
        before = depth.begin(frame)

        def predict() -> tuple[Predicted | None, float]:
            watch = _StopWatch()
            predicted = depth.predict(frame, before) if depth.wants(frame) else None
            watch.lap('depth')
            return predicted, watch.laps['depth']

        return _Job.of(predict, self._depth_thread, self._number + delay)

    def _observe(self, frame: Frame) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
        return observe(self._backbone, frame.rgb, attention=self._method.needs_attention)


def _label_at(pixel: tuple[float, float], labels: LabelImage) -> int:
    """Return the id at x and y in an image; raise DiffsegError where there is none."""
    height, width = labels.shape
    x, y = pixel
    if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
        raise DiffsegError(f'pixel ({x:g}, {y:g}) is outside the image, which has '
                           f'{width}x{height} pixels; choose x from 0 to {width - 1} and y from '
                           f'0 to {height - 1}')
    label = int(labels[math.floor(y + 0.5), math.floor(x + 0.5)])
    if label == UNLABELLED:
        raise DiffsegError(f'pixel ({x:g}, {y:g}) belongs to no segment; choose another '
                           'one')
    return label


class _Segmented(NamedTuple):
    """A keyframe's segments, and what they took by stage."""

    segments: Segments
    milliseconds: dict[str, float]


_Made = TypeVar('_Made')


@dataclass(frozen=True)
class _Job(Generic[_Made]):
    """A keyframe in work, and the number of the frame in which it takes effect at the earliest."""

    result: Future[_Made]
    due: int = 0

    @classmethod
    def of(cls, work: Callable[[], _Made], thread: ThreadPoolExecutor | None,
           due: int) -> _Job[_Made]:
        """Do the work in a thread, and take its effect when it is done; without one do it now."""
        if thread:
            return cls(thread.submit(work))
        result: Future[_Made] = Future()
        try:
            result.set_result(work())
        except Exception as error:
            result.set_exception(error)
        return cls(result, due)

    def is_due(self, number: int) -> bool:
        return self.due <= number and self.result.done()


_STAGES = 'features', 'segmentation', 'tracking', 'depth', 'naming'


class _StopWatch:
    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._mark) * 1e3
        self._mark = now

    def add(self, laps: Mapping[str, float]) -> None:
        """Count laps that were measured elsewhere, and begin the next one."""
        for stage, milliseconds in laps.items():
            self.laps[stage] = self.laps.get(stage, 0.0) + milliseconds
        self._mark = time.perf_counter()

    def finish(self) -> dict[str, float]:
        stages = {stage: self.laps[stage] for stage in _STAGES if stage in self.laps}
        return {**stages, 'total': (self._mark - self._start) * 1e3}
