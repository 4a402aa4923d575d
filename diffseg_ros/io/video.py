"""Video files as recordings, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import CAMERA_FRAME, DEFAULT_PERIOD_NS, Source, SourceFrame
from diffseg_ros.io.sequence_folder import intrinsics_in, of_view
from diffseg_ros.types import Frame
import numpy as np

_NS = 1_000_000_000


def load_av(name: object) -> Any:
    """Return the module `av`; raise DiffsegError, about `name`, where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise DiffsegError(f'{name}: reading video needs PyAV; install it with: pip install av '
                           '(the extra diffseg_ros[video])') from error
    return av


class Video(Source):
    """
    The first video stream of a file.

    Frames are stamped with their time in the video, 0 at its start, and turned upright by the
    rotation that phones write into the file. NAME.camera.json beside NAME.mp4 gives the intrinsics
    of the upright frames.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as container:
            stream = container.streams.video[0]
            # Some containers, such as Matroska, do not say how many frames they hold.
            count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        if not count:
            raise DiffsegError(f'{path}: the video has no frames')
        super().__init__(path.stem, count)
        camera = path.with_suffix('.camera.json')
        self.camera_file, self._intrinsics = str(camera), intrinsics_in(camera)

    def numbered_frames(self, first: int = 0) -> Iterator[SourceFrame]:
        import av
        number = 0
        stamp = -DEFAULT_PERIOD_NS
        with self._opened() as container:
            stream = container.streams.video[0]
            stream.thread_type = 'AUTO'
            start = stream.start_time or 0
            for packet in container.demux(stream):
                try:
                    pictures = packet.decode()
                except av.error.FFmpegError as error:
                    if number >= first:
                        yield SourceFrame(number, None, f'{self._path} frame {number}: cannot be '
                                                        f'decoded ({error.strerror})')
                    number += 1
                    continue
                for picture in pictures:
                    stamp = (stamp + DEFAULT_PERIOD_NS if picture.pts is None else
                             max(0, round((picture.pts - start) * picture.time_base * _NS)))
                    number += 1
                    if number <= first:
                        continue
                    # FFmpeg's angle turns counterclockwise, as that of np.rot90 does.
                    rgb = np.rot90(picture.to_ndarray(format='rgb24'),
                                   round(picture.rotation / 90))
                    yield SourceFrame(number - 1, Frame(
                        np.ascontiguousarray(rgb), stamp, CAMERA_FRAME,
                        intrinsics=of_view(rgb, self._intrinsics, self.camera_file)))

    def _opened(self) -> Any:
        av = load_av(self._path)
        try:
            container = av.open(str(self._path))
        except (av.error.FFmpegError, OSError) as error:
            raise DiffsegError(f'{self._path}: the video cannot be read ({error.strerror}); '
                               'convert it with ffmpeg, for example to .mp4, or give a folder '
                               'of its frames') from error
        if not container.streams.video:
            container.close()
            raise DiffsegError(f'{self._path}: the file holds no video')
        return container


