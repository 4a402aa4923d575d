"""A camera in the generated room turns to the wall behind it for five seconds and returns."""

from dataclasses import dataclass, replace

from diffseg_ros.config import TrackingConfig
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.synthetic.camera_path import camera_path
from diffseg_ros.synthetic.depth_sensor import measure_depth
from diffseg_ros.synthetic.mesh import rigid
from diffseg_ros.synthetic.renderer import Renderer
from diffseg_ros.synthetic.scene import create_scene
from diffseg_ros.tracking.tracker import Tracker
from diffseg_ros.types import Frame, Intrinsics, Segments, TrackState
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


@pytest.fixture(scope='module', params=[
    0, pytest.param(2, marks=pytest.mark.large)], ids='room {}'.format)
def views(request):
    """Return the views before, during and after the look away."""
    scene = create_scene(request.param)
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
        depth = measure_depth(seen.depth, seen.incidence, seen.reflectance, FOCAL, number)
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


@dataclass
class Return:
    """
    What came back, as shares of the things whose id was confirmed before the camera turned.

    Things count that are in view before and at the end; the id of one is that which most of its
    pixels have.

    Attributes
    ----------
    main
        Things that most of the pixels give the same id again.
    part
        Things of which at least a tenth has that id again.
    theirs
        Things that have another's id now.
    count
        How many there were.

    """

    main: float
    part: float
    theirs: float
    count: int


def follow(views, step):
    """Return what comes back."""
    seen = [(*step(view), view.things) for view in views]
    (early, tracks, things), (late, _, there) = seen[BEFORE - 1], seen[-1]
    confirmed = {track.id for track in tracks if track.state is TrackState.CONFIRMED}
    pairs = [(main(early[things == name]), late[there == name])
             for name in np.intersect1d(in_view(things), in_view(there))]
    pairs = [(before, after) for before, after in pairs if before in confirmed]
    everybody = {before for before, _ in pairs}
    return Return(float(np.mean([main(after) == before for before, after in pairs])),
                  float(np.mean([(after == before).mean() >= 0.1 for before, after in pairs])),
                  float(np.mean([main(after) in everybody - {before} for before, after in pairs])),
                  len(pairs))


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
        prediction = tracker.predict(view.frame)
        segments = true_segments(view) if prediction.keyframe else None
        return tracker.update(prediction, segments)[0], tracker.tracks
    return step


def through(pipeline):
    def step(view):
        result = pipeline.process(view.frame)
        return result.labels, result.tracks
    return step


@pytest.mark.parametrize('pose', [True, False], ids=['pose', 'estimated motion'])
def test_ids_of_things_come_back_after_a_look_away(views, pose):
    step = with_true_segments(Tracker(TrackingConfig()))
    back = follow([blind(view, pose=pose) for view in views], step)
    assert back.count >= 20 and back.main >= 0.8 and back.theirs <= 0.16


def test_without_depth_looks_alone_bring_some_back(views):
    step = with_true_segments(Tracker(TrackingConfig()))
    back = follow([blind(view, depth=False) for view in views], step)
    assert back.count >= 20 and back.main >= 0.3 and back.theirs <= 0.15


def test_the_whole_pipeline_finds_things_again(views):
    back = follow(views, through(Pipeline()))
    assert back.count >= 15 and back.part >= 0.8 and back.main >= 0.6
