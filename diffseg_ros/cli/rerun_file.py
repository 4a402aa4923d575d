"""What `--rerun` writes: a recording for the Rerun viewer, https://rerun.io."""

from __future__ import annotations

from contextlib import ExitStack
import os
from pathlib import Path
from typing import Any

from diffseg_ros.cli.output_folder import OutputFolder
from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.geometry.label_images import distinct_labels
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.types import Frame, Matrix
from diffseg_ros.viz.colours import label_colours
import numpy as np
import numpy.typing as npt

_APPLICATION = 'diffseg_replay'
_TIMELINE = 'stamp'
_CAMERA = 'world/camera'
_IMAGE = f'{_CAMERA}/image'
_QUALITY = 85
_OPACITY = 0.5
_THINNED = np.s_[::2, ::2]
_PLANE = 0.3
_END, _END_BYTES = b'RRF2FOOT', 16
_HIDDEN = (0, 0, 0, 0)
_EYE, _TARGET, _ABOVE = np.array([[0.3, -0.6, -1.0], [0.0, 0.0, 2.0], [0.3, -1.6, -1.0]])

Vector = npt.NDArray[np.float64]


class RerunFile:
    """
    Writes frames, labels, points, boxes, camera and times into an .rrd file.

    The file appears when the block ends without an error. Everything lies on the timeline 'stamp',
    the time of exposure.

    Parameters
    ----------
    path
        A file there is written over only if a replay wrote it and it was not changed since.

    Raises
    ------
    DiffsegError
        The name does not end in .rrd, rerun-sdk is not installed, or a file is in the way.

    """

    def __init__(self, path: Path, inputs: list[Path], source: str) -> None:
        if path.suffix != '.rrd' or path.is_dir():
            raise DiffsegError(f'--rerun {path}: the name of a file that ends in .rrd is needed')
        try:
            import rerun
        except ImportError as error:
            raise DiffsegError(f'--rerun {path}: {error.name} is not installed; it comes with the '
                               'extra viewer: pip install -r requirements/viewer.txt') from error
        self._rerun: Any = rerun
        self._path = path
        self._partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
        self._folder = OutputFolder(path.parent, _APPLICATION, [path.name], inputs, beside=True)
        self._source = source
        self._classes: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._stream: Any = None

    def __enter__(self) -> RerunFile:
        """Open the file."""
        with ExitStack() as undo:
            undo.enter_context(self._folder)
            self._stream = self._rerun.RecordingStream(_APPLICATION)
            try:
                self._stream.save(self._partial)
            except RuntimeError as error:
                raise self._failure(str(error)) from error
            undo.pop_all()
        self._stream.set_log_time_enabled(False)
        self._stream.send_recording_name(self._source)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Finish the file, or leave none behind."""
        self._stream.disconnect()
        try:
            if kind is None:
                self._finish()
        except OSError as error:
            raise self._failure(error.strerror or str(error)) from error
        finally:
            self._partial.unlink(missing_ok=True)
            self._folder.__exit__(kind, *exception)

    def _finish(self) -> None:
        # What Rerun cannot write it logs and forgets; only a whole file has its end.
        with self._partial.open('rb') as file:
            file.seek(-min(_END_BYTES, self._partial.stat().st_size), os.SEEK_END)
            if _END not in file.read():
                raise self._failure('it is cut off')
        self._partial.replace(self._path)

    def _failure(self, reason: str) -> WriteError:
        return WriteError(f'--rerun {self._path}: cannot be written ({reason}); check the '
                          'permissions and the space on the disk')

    def write(self, context: OutputContext, cloud: LabelledCloud | None) -> None:
        """
        Write one frame.

        `cloud` has label values in place of ids; of an organised one every second pixel of every
        second row is written.
        """
        rerun, frame = self._rerun, context.frame
        if not self._classes:
            self._begin(frame.pose)
        self._stream.set_time(_TIMELINE, timestamp=np.datetime64(frame.stamp, 'ns'))
        self._write_classes(context)
        self._write_camera(context.frame)
        self._log(_IMAGE, rerun.Image(frame.rgb).compress(_QUALITY))
        self._log(f'{_IMAGE}/labels', rerun.SegmentationImage(context.values, opacity=_OPACITY))
        if context.has_points:
            self._write_boxes(context)
        if cloud is not None:
            self._write_points(cloud, context.encoder.unlabelled)
        for stage, milliseconds in context.result.latency_ms.items():
            self._log(f'milliseconds/{stage}', rerun.Scalars(milliseconds))

    def _log(self, entity: str, data: Any) -> None:
        self._stream.log(entity, data)

    def _begin(self, pose: Matrix | None) -> None:
        """Say how the viewer shows the world first: from behind and above the first camera."""
        if pose is None:
            # The world is the camera then: x right, y down, z forward.
            self._stream.log('world', self._rerun.ViewCoordinates.RDF, static=True)
            pose = np.eye(4)
        eye, target, above = (pose[:3, :3] @ direction for direction in (_EYE, _TARGET, _ABOVE))
        self._stream.send_blueprint(_blueprint(pose[:3, 3] + eye, pose[:3, 3] + target,
                                               above - eye))

    def _write_camera(self, frame: Frame) -> None:
        rerun = self._rerun
        if frame.pose is not None:
            self._log(_CAMERA, rerun.Transform3D(translation=frame.pose[:3, 3],
                                                 mat3x3=frame.pose[:3, :3]))
        if frame.intrinsics is not None:
            height, width = frame.rgb.shape[:2]
            camera = frame.intrinsics.resized(width, height)
            # Rerun counts pixels from the corner of the first, here its centre is 0.
            self._log(_IMAGE, rerun.Pinhole(
                width=width, height=height, focal_length=(camera.fx, camera.fy),
                principal_point=(camera.cx + 0.5, camera.cy + 0.5), image_plane_distance=_PLANE))

    def _write_classes(self, context: OutputContext) -> None:
        """Say what the label values are called and look like, where that has changed."""
        ids = distinct_labels(context.labels)
        ids = ids[ids >= 0]
        colours = label_colours(ids, context.colours)
        values = context.encoder.values(ids).tolist()
        found = {value: (_caption(identity, context.names), tuple(colour)) for value, identity,
                 colour in zip(values, ids.tolist(), colours.tolist())}
        found[context.encoder.unlabelled] = '', _HIDDEN
        if any(self._classes.get(value) != known for value, known in found.items()):
            self._classes |= found
            self._log('world', self._rerun.AnnotationContext(
                [(value, *known) for value, known in self._classes.items()]))

    def _write_boxes(self, context: OutputContext) -> None:
        boxes = context.boxes
        ids = np.array([box.id for box in boxes], np.int32)
        self._log(f'{_CAMERA}/boxes', self._rerun.Boxes3D(
            centers=np.reshape([box.centre for box in boxes], (-1, 3)),
            sizes=np.reshape([box.size for box in boxes], (-1, 3)),
            quaternions=np.reshape([box.quaternion for box in boxes], (-1, 4)),
            class_ids=context.encoder.values(ids),
            fill_mode=self._rerun.components.FillMode.MajorWireframe,
            labels=[_caption(box.id, context.names) for box in boxes]))

    def _write_points(self, cloud: LabelledCloud, unlabelled: int) -> None:
        if cloud.labels.ndim == 2:
            cloud = LabelledCloud(cloud.points[_THINNED], cloud.rgb[_THINNED],
                                  cloud.labels[_THINNED])
        cloud = cloud.compact()
        labelled = cloud.labels != unlabelled
        self._log(f'{_CAMERA}/points', self._rerun.Points3D(
            cloud.points[labelled], class_ids=cloud.labels[labelled]))


def _caption(identity: int, names: dict[int, str]) -> str:
    return f'{identity} {names.get(identity, "")}'.rstrip()


def _blueprint(eye: Vector, target: Vector, up: Vector) -> Any:
    """Return what the viewer shows first: the world, the image with its labels, the times."""
    from rerun import blueprint

    world = blueprint.Spatial3DView(
        name='World', origin='world', line_grid=False,
        eye_controls=blueprint.EyeControls3D(position=eye, look_target=target, eye_up=up))
    image = blueprint.Spatial2DView(name='Image and labels', origin=_IMAGE)
    times = blueprint.TimeSeriesView(name='Milliseconds of each stage', origin='milliseconds')
    return blueprint.Blueprint(
        blueprint.Horizontal(world, blueprint.Vertical(image, times, row_shares=[2, 1]),
                             column_shares=[3, 2]), collapse_panels=True)
