"""Pictures, film and cloud of a run, for people."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import sys

import cv2
from diffseg_ros.demo.outcome import Outcome
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.ply import write_ply
from diffseg_ros.viz.cloud_picture import render_cloud
from diffseg_ros.viz.overlay import draw_overlay, label_colours
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]

FILM_SIZE = (480, 360)
"""Width and height of each half of the film."""

_FARTHEST = 5.0
_FONT = cv2.FONT_HERSHEY_DUPLEX


def write_overview(path: Path, outcome: Outcome, title: str, columns: int = 4) -> None:
    """
    Draw a contact sheet: camera, truth, result and depth of a few frames.

    Parameters
    ----------
    path
        The picture to write.
    outcome
        Needs at least one processed frame.
    title
        What stands above it, for example the scores.
    columns
        Frames to show, evenly spread over the run.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    processed = outcome.account.processed
    chosen = [processed[index] for index in
              np.linspace(0, len(processed) - 1, min(columns, len(processed))).round().astype(int)]
    rows = ('camera image', 'true instances', 'segments found\n(colour = persistent id)',
            f'depth\n(0 to {_FARTHEST:.0f} m, black = none)')
    figure = Figure(figsize=(3.4 * len(chosen) + 0.7, 11.2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, len(chosen), squeeze=False)
    for column, number in enumerate(chosen):
        for row, picture in enumerate(_column(outcome, number)):
            axis = axes[row, column]
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            if not row:
                axis.set_title(f'frame {number}  (t = {number / 10:.1f} s)', fontsize=12)
            if not column:
                axis.set_ylabel(rows[row], fontsize=12)
    figure.suptitle(title, fontsize=14)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path)


def _column(outcome: Outcome, number: int) -> Iterator[Picture]:
    frame, labels = outcome.frame(number), outcome.labels(number)
    yield frame.rgb
    yield label_colours(outcome.sequence.instances(number).astype(np.int32))
    yield draw_overlay(frame.rgb, _sized(labels, frame.rgb))
    assert frame.depth is not None
    yield depth_picture(frame.depth)


def depth_picture(depth: npt.NDArray[np.float32]) -> Picture:
    """Return (H, W, 3) RGB: near is blue, far is red, invalid is black."""
    share = np.nan_to_num(np.clip(depth / _FARTHEST, 0, 1))
    picture = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(np.isfinite(depth)[..., None], picture, 0).astype(np.uint8)


def write_video(path: Path, outcome: Outcome, rate: float = 10.0) -> Iterator[int]:
    """
    Write camera image and result side by side; yield the number of each frame written.

    A frame that was not processed shows the last result, and says so.

    Raises
    ------
    DiffsegError
        No video encoder is available, or the file cannot be written.

    """
    result = np.zeros_like(outcome.frame(0).rgb)
    video = _open_video(path, rate, (2 * FILM_SIZE[0], FILM_SIZE[1]))
    processed = set(outcome.account.processed)
    try:
        for number in range(outcome.account.sent):
            rgb = outcome.frame(number).rgb
            text = f'frame {number}'
            if number in processed:
                result = draw_overlay(rgb, _sized(outcome.labels(number), rgb))
            else:
                text += ' (not processed: last result)'
            both = np.hstack([cv2.resize(picture, FILM_SIZE, interpolation=cv2.INTER_AREA)
                              for picture in (rgb, result)])
            _caption(both, text, (10, FILM_SIZE[1] - 12))
            video.write(both[..., ::-1])
            yield number
    finally:
        video.release()


def _open_video(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    # FFmpeg warns on the process's stderr that WebM has no FourCC; it needs none.
    sys.stderr.flush()
    stderr, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'VP80'), rate, size)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)
    if not video.isOpened():
        raise DiffsegError(f'{path}: OpenCV cannot write VP8 video here; install '
                           'opencv-python-headless from PyPI')
    return video


def write_cloud(ply: Path, picture: Path, outcome: Outcome) -> int:
    """
    Write the cloud of the middle frame, coloured by segment, and a picture of it.

    Returns
    -------
    int
        Number of points written; 0 and no files if no cloud was recorded.

    """
    numbers = outcome.cloud_numbers
    if not numbers:
        return 0
    number = numbers[len(numbers) // 2]
    cloud = outcome.cloud(number).compact()
    tinted = cv2.addWeighted(cloud.rgb, 0.4, label_colours(cloud.labels), 0.6, 0)
    count = write_ply(ply, LabelledCloud(cloud.points, tinted, cloud.labels))
    size = {'width': 800, 'height': 640}
    views = [render_cloud(cloud.points, colours, **size) for colours in (cloud.rgb, tinted)]
    sheet = np.hstack(views)
    _caption(sheet, f'frame {number}: {count} points', (12, 30))
    _caption(sheet, 'coloured by segment id', (812, 30))
    if not cv2.imwrite(str(picture), sheet[..., ::-1]):
        raise DiffsegError(f'{picture}: cannot be written')
    return count


def _sized(labels: npt.NDArray[np.int32], rgb: Picture) -> npt.NDArray[np.int32]:
    size = (rgb.shape[1], rgb.shape[0])
    return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)


def _caption(picture: Picture, text: str, place: tuple[int, int]) -> None:
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(picture, text, place, _FONT, 0.6, colour, thickness, cv2.LINE_AA)
