"""A camera in the generated room turns to the wall behind it for five seconds and returns."""

from dataclasses import dataclass, replace

from diffseg_ros.config import TrackingConfig
from diffseg_ros.demo.camera_path import camera_path
from diffseg_ros.demo.depth_sensor import DepthSensor
from diffseg_ros.demo.mesh import rigid
from diffseg_ros.demo.renderer import Renderer
from diffseg_ros.demo.scene import create_scene
from diffseg_ros.frame import Frame, Intrinsics
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.segmentation.segmenter import Segments
from diffseg_ros.tracking.life import TrackState
from diffseg_ros.tracking.tracker import Tracker
import numpy as np
import pytest

CAMERA = Intrinsics(160, 120, 131.25, 131.25, 79.5, 59.5)
FOCAL = 525.0
RATE = 10
BEFORE, TURN, AWAY, AFTER = 20, 12, 5 * RATE, 12
ANGLE = np.radians(150)
SWAY = 5


@dataclass
class View:
    """A frame and the (H, W) number of the thing that each pixel shows."""

    frame: Frame
    things: np.ndarray


@pytest.fixture(scope='module')
def views():
    """Return the views before, during and after the look away."""
    scene, sensor = create_scene(0), DepthSensor()
    renderer = Renderer(scene, CAMERA)
    times = np.arange(BEFORE + 2 * TURN + AWAY + AFTER) / RATE
    path = camera_path(scene, times)
    turned = np.full(len(times), ANGLE)
    turned[:BEFORE] = turned[-AFTER:] = 0
    ramp = ANGLE * np.arange(1, TURN + 1) / (TURN + 1)
    turned[BEFORE:BEFORE + TURN] = ramp
    turned[-AFTER - TURN:-AFTER] = ramp[::-1]

    def view(number):
        pose = path[number].copy()
        pose[:3, :3] = rigid((0, 0, 0), turned[number])[:3, :3] @ pose[:3, :3]
        seen = renderer.render(times[number], pose, number)
        # A VGA sensor, thinned: by the small picture's focal length it would measure far worse.
        depth = sensor.measure(seen.depth, seen.incidence, seen.reflectance, FOCAL, number)
        return View(Frame(seen.rgb, number * 10**9 // RATE, 'camera', depth, CAMERA, pose),
                    seen.instances)

    first = BEFORE + TURN
    there = [view(number) for number in range(first, first + SWAY)]
    # What it sees there is all one: a few views, to and fro, save the time to render the rest.
    swing = [*range(SWAY), *range(SWAY - 2, 0, -1)]
    away = [View(replace(one.frame, stamp=(first + number) * 10**9 // RATE), one.things)
            for number in range(AWAY) for one in [there[swing[number % len(swing)]]]]
    return [*map(view, range(first)), *away, *map(view, range(first + AWAY, len(times)))]


def true_segments(view):
    """Return the true things as segments; the colours that they have are how they look."""
    names, labels = np.unique(view.things, return_inverse=True)
    labels = labels.reshape(view.things.shape).astype(np.int32)
    bins = (view.frame.rgb // 43).astype(int) @ [36, 6, 1]
    looks = np.zeros((len(names), 216), np.float32)
    np.add.at(looks, (labels, bins), 1)
    looks = np.sqrt(looks / looks.sum(axis=1, keepdims=True))
    return Segments(labels, np.full(labels.shape, 255, np.uint8), looks)


def follow(views, step):
    """
    Return the share of things whose id comes back, that of others' ids, and how many there were.

    Those count that are in view before the camera turns and at the end, and whose id, the one
    most of their pixels have, was confirmed before it turned.
    """
    seen = [(*step(view), view.things) for view in views]
    (early, tracks, things), (late, _, there) = seen[BEFORE - 1], seen[-1]
    confirmed = {track.id for track in tracks if track.state is TrackState.CONFIRMED}
    pairs = [(main(early[things == name]), main(late[there == name]))
             for name in np.intersect1d(in_view(things), in_view(there))]
    kept = [after == before for before, after in pairs if before in confirmed]
    theirs = [before in confirmed and after in {one for one, _ in pairs} - {before}
              for before, after in pairs]
    return np.mean(kept), sum(theirs) / len(kept), len(kept)


def in_view(things):
    """Return the things that are as large as a track must be."""
    names, counts = np.unique(things, return_counts=True)
    return names[counts >= TrackingConfig().min_share * things.size]


def main(labels):
    return int(np.bincount(labels).argmax())


def blind(view, depth=True, pose=False):
    return replace(view, frame=replace(view.frame, depth=view.frame.depth if depth else None,
                                       pose=view.frame.pose if pose else None))


def with_true_segments(tracker):
    def step(view):
        if tracker.expect(view.frame):
            return tracker.update(true_segments(view))[0], tracker.tracks
        return tracker.hold()[0], tracker.tracks
    return step


def through(pipeline):
    def step(view):
        result = pipeline.process(view.frame)
        return result.labels, result.tracks
    return step


def test_ids_of_things_come_back_after_a_look_away(views):
    back, swapped, count = follow(views, with_true_segments(Tracker(TrackingConfig())))
    assert count >= 20 and back >= 0.8 and swapped <= 0.1


def test_without_a_pose_what_is_not_known_again_is_new(views):
    step = with_true_segments(Tracker(TrackingConfig()))
    back, swapped, count = follow([blind(view) for view in views], step)
    assert count >= 20 and back > 0 and swapped <= 0.15


def test_the_whole_pipeline_finds_part_of_it_again(views):
    back, _, count = follow(views, through(Pipeline()))
    assert count >= 15 and back >= 0.35
