"""Pictures, video and cloud of a run, for people."""

from __future__ import annotations

from collections.abc import Iterable
import os
from pathlib import Path
import sys
import tempfile

import cv2
from diffseg_ros.demo.run_results import RunResults
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.label_images import resize_labels
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.images import write_bytes, write_image
from diffseg_ros.io.ply import write_ply
from diffseg_ros.types import DepthImage, RgbImage
from diffseg_ros.viz.cloud_picture import render_cloud
from diffseg_ros.viz.colours import label_colours
from diffseg_ros.viz.overlay import draw_overlay, write_text
import numpy as np

VIDEO_SIZE = (480, 360)
"""Width and height of each half of the video."""

_COLUMNS = 4
_FRAMES_PER_SECOND = 10
_FARTHEST = 5.0


def write_overview(path: Path, results: RunResults, title: str) -> None:
    """
    Draw camera image, truth, result and depth of a few frames, evenly spread over the run.

    Parameters
    ----------
    path
        The picture to write.
    results
        Needs at least one processed frame.
    title
        Heading, for example the scores.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    processed = results.processed
    places = np.linspace(0, len(processed) - 1, min(_COLUMNS, len(processed))).round().astype(int)
    rows = ('camera image', 'true instances', 'segments found\n(bold = clicked on)',
            f'depth\n(0 to {_FARTHEST:.0f} m, black = none)')
    figure = Figure(figsize=(3.4 * len(places) + 0.7, 11.2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(places), squeeze=False)
    for column, number in enumerate(processed[place] for place in places):
        frame = results.frames[number]
        assert frame.depth is not None
        images = (frame.rgb, label_colours(results.sequence.instances(number).astype(np.int32)),
                  _overlay(results, number), depth_picture(frame.depth))
        for axis, image in zip(axes[:, column], images):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(f'frame {number}  (t = {number / 10:.1f} s)', fontsize=12)
    for axis, name in zip(axes[:, 0], rows):
        axis.set_ylabel(name, fontsize=12)
    figure.suptitle(title, fontsize=14)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path)


def depth_picture(depth: DepthImage) -> RgbImage:
    """Return (H, W, 3) RGB: near is blue, far is red, invalid is black."""
    share = np.nan_to_num(np.clip(depth / _FARTHEST, 0, 1))
    picture = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(np.isfinite(depth)[..., None], picture, 0).astype(np.uint8)


def write_video(path: Path, results: RunResults, numbers: Iterable[int]) -> None:
    """
    Write the camera images and results of these frames side by side.

    A frame that was not processed shows the last result, and says so.

    Raises
    ------
    DiffsegError
        No video encoder is available, or the file cannot be written.

    """
    # OpenCV cannot write to names that are not UTF-8.
    with tempfile.TemporaryDirectory(prefix='diffseg_demo.') as scratch:
        plain = Path(scratch, f'video{path.suffix}')
        _write_frames(plain, results, numbers)
        write_bytes(path, plain.read_bytes())


def _write_frames(path: Path, results: RunResults, numbers: Iterable[int]) -> None:
    overlay = np.zeros_like(results.frames[0].rgb)
    processed = set(results.processed)
    video = _open_video(path, (2 * VIDEO_SIZE[0], VIDEO_SIZE[1]))
    try:
        for number in numbers:
            text = f'frame {number}'
            if number in processed:
                overlay = _overlay(results, number)
            else:
                text += ' (not processed: last result)'
            both = np.hstack([cv2.resize(image, VIDEO_SIZE, interpolation=cv2.INTER_AREA)
                              for image in (results.frames[number].rgb, overlay)])
            write_text(both, text, (10, VIDEO_SIZE[1] - 12), 0.6)
            video.write(both[..., ::-1])
    finally:
        video.release()


def _open_video(path: Path, size: tuple[int, int]) -> cv2.VideoWriter:
    # FFmpeg warns on the process's stderr that WebM has no FourCC; it needs none.
    sys.stderr.flush()
    stderr, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'VP80'), _FRAMES_PER_SECOND,
                                size)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)
    if not video.isOpened():
        raise DiffsegError(f'{path}: OpenCV cannot write VP8 video here; install '
                           'opencv-python-headless from PyPI')
    return video


def write_cloud(ply: Path, picture: Path, results: RunResults) -> int:
    """
    Write the cloud of the middle frame, coloured by segment, and a picture of it.

    Returns
    -------
    int
        Number of points written; 0 and no files if no cloud was recorded.

    """
    if not results.with_cloud:
        return 0
    number = results.with_cloud[len(results.with_cloud) // 2]
    cloud = results.cloud(number)
    tinted = cv2.addWeighted(cloud.rgb, 0.4, label_colours(cloud.labels), 0.6, 0)
    count = write_ply(ply, LabelledCloud(cloud.points, tinted, cloud.labels))
    views = [render_cloud(cloud.points, colours, 800, 640) for colours in (cloud.rgb, tinted)]
    both = np.hstack(views)
    write_text(both, f'frame {number}: {count} points', (12, 30), 0.7)
    write_text(both, 'coloured by segment id', (812, 30), 0.7)
    write_image(picture, both)
    return count


def _overlay(results: RunResults, number: int) -> RgbImage:
    """Return what the node published for people, or labels over the image where it was lost."""
    published = results.overlay(number)
    if published is not None:
        return published
    rgb = results.frames[number].rgb
    return draw_overlay(rgb, resize_labels(results.labels(number), *rgb.shape[:2]))
