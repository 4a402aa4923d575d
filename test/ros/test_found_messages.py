"""The messages of ~/found/*: boxes in view, places out of view, and all tracks by their fit."""

from __future__ import annotations

from dataclasses import replace
import json

from diffseg_ros.config import PipelineConfig
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.types import Found, Frame, Intrinsics, Match, Result, Track, TrackState
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.outputs import available_outputs, create_message  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

HEIGHT, WIDTH = 48, 64
SEEN, GONE, LOST, OTHER = 1, 2, 3, 4
CONFIRMED = TrackState.CONFIRMED
TRACKS = (Track(SEEN, CONFIRMED, 9, 0, 500, name='cup', name_score=0.8),
          Track(GONE, TrackState.LOST, 9, 5, 0, position=(1.0, 2.0, 3.0)),
          Track(LOST, TrackState.LOST, 9, 5, 0), Track(OTHER, CONFIRMED, 9, 0, 900))
FOUND = Found('a cup', (Match(SEEN, 0.8), Match(GONE, 0.7), Match(LOST, 0.5), Match(OTHER, 0.1)))


def result(found=FOUND, depth=True):
    labels = np.full((HEIGHT, WIDTH), OTHER, np.int32)
    labels[10:30, 20:40] = SEEN
    frame = Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 1_000_000_007, 'optical',
                  np.full((HEIGHT, WIDTH), 1.5, np.float32) if depth else None,
                  Intrinsics(WIDTH, HEIGHT, 60.0, 60.0, 31.5, 23.5), fixed_frame='map')
    return Result(frame, labels, np.full(labels.shape, 200, np.uint8), 0, tracks=TRACKS,
                  found=found)


def message(name, given):
    context = OutputContext(given, LabelEncoder(), PipelineConfig())
    return create_message(available_outputs()[f'found/{name}'], context)


def test_tracks_that_fit_at_least_half_as_well_as_the_best_are_found():
    assert FOUND.best == [SEEN, GONE, LOST]
    assert Found('x', (Match(SEEN, 0.09),)).best == [] and Found('x', ()).best == []


def test_the_mask_shows_what_fits():
    mask = np.frombuffer(message('mask', result()).data, np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask == 255, result().labels == SEEN)
    assert set(np.unique(mask)) == {0, 255}


def test_the_ranking_has_all_tracks_with_their_places():
    content = json.loads(message('ranking', result()).data)
    assert (content['words'], content['stamp'], content['frame_id']) == (
        'a cup', 1_000_000_007, 'map')
    assert content['tracks'][:2] == [
        {'id': SEEN, 'score': 0.8, 'name': 'cup', 'in_view': True, 'position': None},
        {'id': GONE, 'score': 0.7, 'name': '', 'in_view': False, 'position': [1.0, 2.0, 3.0]}]
    assert len(content['tracks']) == 4


def test_markers_are_boxes_in_view_and_spheres_in_the_fixed_frame():
    clear, *made = message('markers', result()).markers
    assert clear.action == Marker.DELETEALL
    shapes = {(marker.id, marker.type, marker.header.frame_id) for marker in made}
    assert shapes == {
        (SEEN, Marker.CUBE, 'optical'), (SEEN, Marker.TEXT_VIEW_FACING, 'optical'),
        (GONE, Marker.SPHERE, 'map'), (GONE, Marker.TEXT_VIEW_FACING, 'map')}
    sphere = next(marker for marker in made if marker.type == Marker.SPHERE)
    assert (sphere.pose.position.x, sphere.pose.position.z) == (1.0, 3.0)
    assert {marker.text for marker in made if marker.text} == {'a cup 0.80 (1)', 'a cup 0.70 (2)'}


def test_without_depth_only_places_are_marked():
    made = message('markers', result(depth=False)).markers[1:]
    assert {marker.id for marker in made} == {GONE}


def test_without_words_nothing_is_published():
    given = replace(result(), found=None)
    assert [message(name, given) for name in ('mask', 'ranking', 'markers')] == [None] * 3
