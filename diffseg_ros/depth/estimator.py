"""Gives frames the depth that a model predicts, in metres and beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from diffseg_ros.depth.alignment import align, Alignment, FARTHEST, to_metres
from diffseg_ros.depth.base import DepthKind, DepthModel, DepthSettings, KnownDepth
from diffseg_ros.depth.carrier import Carrier, View
from diffseg_ros.depth.completion import complete
from diffseg_ros.depth.ground import align_to_ground
from diffseg_ros.depth.ranges import known_from_ranges
from diffseg_ros.depth.scale_filter import ScaleFilter
from diffseg_ros.depth.triangulation import Triangulator
from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.pixel_source import Source
from diffseg_ros.gpu_memory import is_out_of_gpu_memory, release_gpu_memory
from diffseg_ros.types import DepthImage, Frame
import numpy as np
import numpy.typing as npt

_BEST, _PER_RESIDUAL = 0.9, 5.0
_PER_FRAME, _WITHOUT_SOURCE = 0.98, 0.5
_KNOWN_PIXELS = 20_000
_UNSEEN_ERROR = 0.1
"""Error of scales that no depth was compared with: of a metric model, and by the ground."""
_AS_IT_IS = Alignment(1.0, 0.0, residual=_UNSEEN_ERROR, inliers=0.0)
"""That of a metric model where nothing is known besides."""
_LEVEL = np.array([0.0, -1.0, 0.0])
"""Up in the optical frame of a camera that looks at the horizon."""


class Predicted(NamedTuple):
    """
    What was made of a keyframe.

    Attributes
    ----------
    metres
        (H, W) float32 at the image's size, NaN where there is no depth; None without scale.
    confidence
        Of all its pixels, 0 to below 1.
    reason
        Why there are no metres, '' if there are.

    """

    metres: DepthImage | None
    confidence: float
    view: View
    reason: str = ''


class DepthEstimator:
    """
    Predicts depth in keyframes and carries it into the frames between them.

    For every frame call `follow`, then for a keyframe `begin`, and `give` at last. `predict` gets
    what `begin` returned and may run in another thread, one keyframe at a time; `take` its result
    before `give`, in the same frame or a later one. Nothing of it raises: what fails costs the
    depth of some frames.
    """

    def __init__(self, model: DepthModel, settings: DepthSettings) -> None:
        self._model = model
        self._settings = settings
        self._predicted_frames = self._failed = 0
        self.failure = ''
        self.reset()

    def reset(self) -> None:
        """Forget what was predicted; no keyframe may be in work."""
        self._triangulator = Triangulator()
        self._world = ''
        self._filter = ScaleFilter()
        self._alignment: Alignment | None = None
        self._source = ''
        self._least_error = 0.0
        self._predicted: Predicted | None = None
        self._carrier: Carrier | None = None
        self._awaited: Carrier | None = None
        self.reason = ''

    def configure(self, settings: DepthSettings) -> None:
        """Apply changed settings from the next frame on; the model stays as loaded."""
        self._settings = settings

    @property
    def report(self) -> dict[str, str]:
        """
        How it goes, for reports.

        Model, what its values are, where the scale comes from ('before' is the keyframe before,
        carried here), scale and shift, how far the aligned values are off as a share of the depth,
        the keyframes that were predicted and that failed, why the last one did, and why the last
        frame has no predicted depth, '' if it has.
        """
        alignment = self._alignment
        return {
            'model': self._model.name, 'kind': self._model.kind.value,
            'scale_source': self._source,
            'scale': '' if alignment is None else f'{alignment.scale:.4g}',
            'shift': '' if alignment is None else f'{alignment.shift:.4g}',
            'residual': '' if alignment is None else f'{alignment.residual:.4g}',
            'keyframes': str(self._predicted_frames), 'failed': str(self._failed),
            'failure': self.failure, 'missing': self.reason}

    def wants(self, frame: Frame) -> bool:
        """Return whether the model is to see a keyframe."""
        return frame.depth is None or self._settings.use != 'missing'

    def follow(self, step: Source | None) -> None:
        """Go on to the next frame by a step, None where the frame before is unrelated."""
        carriers = [one for one in (self._carrier, self._awaited) if one is not None]
        filled = None if step is None or not carriers else step.filled()
        for carrier in carriers:
            carrier.follow(filled)

    def begin(self, frame: Frame) -> KnownDepth | None:
        """
        Let the present frame be the next one that is predicted.

        Returns the depth of the last keyframe as far as motion leads here, for `predict`.
        """
        self._awaited = Carrier()
        try:
            return self._known_before(frame)
        except Exception:  # such as of the lens; `give` says so
            return None

    def predict(self, frame: Frame, before: KnownDepth | None) -> Predicted:
        """Return what the model makes of a keyframe; why not, where it fails."""
        try:
            values = self._values(frame)
            metres, confidence, reason = self._in_metres(values, frame, before)
            self._predicted_frames += 1
            self.failure = ''
            return Predicted(metres, confidence, View.of(frame), reason)
        except Exception as error:
            self._failed += 1
            self.failure = describe_error(error)
            if is_out_of_gpu_memory(error.__cause__ or error):  # models say it in their own words
                release_gpu_memory()
            return Predicted(None, 0.0, View.of(frame), f'predicted depth: {self.failure}')

    def take(self, predicted: Predicted | None) -> None:
        """Use what was predicted in the frame of the last `begin`; None if nothing was."""
        if predicted is None:
            self.failure = ''
        self._predicted = predicted
        self._carrier, self._awaited = self._awaited, None

    def give(self, frame: Frame) -> Frame:
        """Return the frame with depth as `depth.use` says, and the confidence of each pixel."""
        use, measured = self._settings.use, frame.depth
        self.reason = ''
        if measured is not None and use == 'missing':
            return _all_measured(frame)
        try:
            found = self._present(frame)
            if found is not None and measured is not None and use == 'fill':
                found = _filled(measured, *found)
        except Exception as error:
            found, self.reason = None, f'predicted depth: {describe_error(error)}'
        if found is None:
            return _all_measured(frame)
        return replace(frame, depth=found[0], depth_confidence=found[1])

    def _values(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Return what the model makes of an image; DiffsegError if its size or type is wrong."""
        values, shape = np.asarray(self._model.predict(frame.rgb)), frame.rgb.shape[:2]
        if values.shape != shape or values.dtype != np.float32:
            raise DiffsegError(f'depth model {self._model.name}: got {values.dtype} '
                               f'{values.shape} for an image of {shape}; one float32 for each '
                               'pixel is needed')
        return values

    def _present(self, frame: Frame) -> tuple[DepthImage, npt.NDArray[np.float32]] | None:
        """Return the predicted depth in a frame and its confidence; note why there is none."""
        predicted = self._predicted
        if predicted is None or self._carrier is None:
            self.reason = ('predicted depth: there is none before ' + (
                'the next keyframe' if self._awaited is None else 'the model is done'))
            return None
        if predicted.metres is None:
            self.reason = predicted.reason
            return None
        carried = self._carrier.carry(predicted.metres, predicted.view, frame)
        if carried is None:
            self.reason = 'predicted depth: this frame shows another view than the last keyframe'
            return None
        depth, known = carried
        best = predicted.confidence * _PER_FRAME ** self._carrier.frames
        confidence = np.where(known, np.float32(best), np.float32(best * _WITHOUT_SOURCE))
        height, width = frame.rgb.shape[:2]
        return resize_labels(depth, height, width), resize_labels(confidence, height, width)

    def _in_metres(self, values: npt.NDArray[np.float32], frame: Frame,
                   before: KnownDepth | None) -> tuple[DepthImage | None, float, str]:
        """Return the metres of a keyframe, their confidence, and why there are none."""
        kind, problems = self._model.kind, list[str]()
        measured, source = None, 'model' if kind is DepthKind.METRIC else 'before'
        for name, found in self._alignments(values, frame, problems):
            if found is not None and found.points:
                measured, source = found, name
                break
            problems.append(f'{name}: it does not tell the scale of what is predicted')
        alignment = self._filter.update(values, kind, measured, before, frame.stamp)
        if self._filter.contradicted:
            source = 'before'
        self._alignment, self._source = alignment, ''
        if alignment is None and kind is DepthKind.METRIC:
            alignment = _AS_IT_IS
        if alignment is None:
            return None, 0.0, _no_scale(problems, frame)
        metres = to_metres(values, kind, alignment)
        if np.isnan(metres).all():
            by = '' if kind is DepthKind.METRIC else f', its scale by {source},'
            return None, 0.0, (f'predicted depth: {self._model.name}{by} gives none from 0 to '
                               f'{FARTHEST:g} m')
        self._source = source
        if source != 'before':
            self._least_error = _UNSEEN_ERROR if source.startswith('ground') else 0.0
        return metres, _confidence(max(alignment.residual, self._least_error)), ''

    def _known_before(self, frame: Frame) -> KnownDepth | None:
        """Return the depth of the last keyframe as far as motion leads to this frame."""
        predicted, carrier = self._predicted, self._carrier
        if predicted is None or predicted.metres is None or carrier is None:
            return None
        carried = carrier.carry(predicted.metres, predicted.view, frame)
        if carried is None:
            return None
        depth = np.where(carried[1], carried[0], np.float32(np.nan))
        return _known_pixels(resize_labels(depth, *frame.rgb.shape[:2]))

    def _alignments(self, values: npt.NDArray[np.float32], frame: Frame,
                    problems: list[str]) -> Iterator[tuple[str, Alignment | None]]:
        """Yield what each source of scale says, the best first; note those that are missing."""
        (height, width), kind = frame.rgb.shape[:2], self._model.kind
        if frame.depth is not None:
            measured = _known_pixels(resize_labels(frame.depth, height, width))
            yield 'sensor', align(values, kind, measured)
        if frame.intrinsics is None:
            problems.append('without camera intrinsics no other depth tells it')
            return
        camera = frame.intrinsics.resized(width, height)
        if frame.ranges is not None:
            known = known_from_ranges(frame.ranges, camera, (height, width))
            yield 'ranges', align(values, kind, known)
            problems.append(f'{len(known.metres)} pixels show one of its {len(frame.ranges)} '
                            'points')
        elif self._settings.sparse_topic:
            problems.append(f'ranges: none of {self._settings.sparse_topic} belong to the image')
        if kind is DepthKind.METRIC:
            return
        pose, world = frame.motion
        if pose is not None:
            if world != self._world:
                self._triangulator.reset()
                self._world = world
            corners = self._triangulator.update(frame.rgb, pose, camera)
            if corners is None:
                problems.append('triangulation: the camera has not moved enough')
            else:
                yield 'triangulation', align(values, kind, corners)
        if self._settings.camera_height:
            up, name = frame.up if pose is None else pose[2, :3], 'ground'
            if up is None:
                up, name = _LEVEL, 'ground (camera taken as level)'
            yield name, align_to_ground(values, kind, camera, self._settings.camera_height, up)


def _filled(measured: DepthImage, depth: DepthImage, confidence: npt.NDArray[np.float32]
            ) -> tuple[DepthImage, npt.NDArray[np.float32]]:
    """Return measured depth with its holes filled by predicted depth, and the confidence."""
    confidence = resize_labels(confidence, *measured.shape)
    measured = np.where(measured < FARTHEST, measured, np.float32(np.nan))
    return (complete(measured, resize_labels(depth, *measured.shape)),
            np.where(measured > 0, np.float32(1), confidence))


def _known_pixels(depth: DepthImage) -> KnownDepth:
    """Return about 20 000 valid pixels of (H, W) depth, evenly spread; all if they are fewer."""
    step = max(1, round((np.count_nonzero(depth > 0) / _KNOWN_PIXELS) ** 0.5))
    rows, columns = np.nonzero(depth[::step, ::step] > 0)
    rows, columns = rows * step, columns * step
    return KnownDepth(rows, columns, depth[rows, columns])


def _confidence(residual: float) -> float:
    """Return that of a keyframe whose metres are off by a share."""
    return _BEST / (1 + _PER_RESIDUAL * residual)


def _all_measured(frame: Frame) -> Frame:
    """Return the frame with 1 as the confidence of its depth, if it has any."""
    if frame.depth is None:
        return frame
    return replace(frame, depth_confidence=np.ones(frame.depth.shape, np.float32))


def _no_scale(problems: list[str], frame: Frame) -> str:
    found = f' ({"; ".join(problems)})' if problems else ''
    first = 'camera intrinsics, and ' if frame.intrinsics is None else ''
    return (f'no scale: the model gives relative depth{found}; give {first}depth.camera_height '
            'with the ground in view, depth.sparse_topic, or the poses of a moving camera')
