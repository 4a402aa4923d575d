"""Bags of several cameras and of cameras that stamp badly: whose depth and when."""

from __future__ import annotations

from bag_recipes import (
    DEPTH,
    depth,
    depth_pixels,
    image,
    INFO,
    info,
    later,
    message,
    MS,
    on,
    record,
    RGB,
    START,
)
from diffseg_ros.io.base import BagSettings, TopicNames
from diffseg_ros.io.message_stream import open_stream
from diffseg_ros.io.messages import CAMERA_INFO, deserialise, image_message
from diffseg_ros.io.source import open_source
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

CAMERAS = ('front', 'rear', 'wrist_cam')


def camera(prefix, value, frame, *, colour='rgb/image_raw', camera_info='rgb/camera_info',
           depth_topic='depth_registered/image_rect'):
    """Return one frame of a camera whose pixel, focal length and depth are `value`."""
    items = [(colour, image(value, 0, frame)), (camera_info, info(value, 0)),
             (depth_topic, depth(value, 0, frame))]
    items[1][1].message.header.frame_id = frame
    return [on(prefix + name, item) for name, item in items]


def tell(frame):
    """Return pixel, depth and focal length of a frame; None where there is none."""
    return (int(frame.rgb[0, 0, 0]), None if frame.depth is None else int(frame.depth[0, 0]),
            None if frame.intrinsics is None else int(frame.intrinsics.fx))


@pytest.mark.parametrize('names', [
    {}, {'colour': 'color/image_raw', 'camera_info': 'color/camera_info',
         'depth_topic': 'aligned_depth_to_color/image_raw'}])
@pytest.mark.parametrize('shared_frame', [False, True])
@pytest.mark.parametrize('number', [0, 1, 2])
def test_partners_are_those_of_the_named_camera(tmp_path, names, shared_frame, number):
    items = [item for value, name in enumerate(CAMERAS) for item in camera(
        f'/robot/{name}/', value + 2, 'camera' if shared_frame else f'{name}_optical', **names)]
    path = record(tmp_path / 'bag.mcap', *items)
    rgb = f'/robot/{CAMERAS[number]}/{names.get("colour", "rgb/image_raw")}'
    source = open_source(path, TopicNames(rgb=rgb))
    assert [tell(frame) for frame in source] == [(number + 2,) * 3]
    assert not any('several cameras' in note for note in source.warnings)
    unnamed = open_source(path)
    assert len({*tell(next(iter(unnamed)))}) == 1
    note, = [note for note in unnamed.warnings if 'several cameras' in note]
    assert all(name in note for name in CAMERAS)


@pytest.mark.parametrize('own', ['depth_registered/image_rect', 'rgb/camera_info'])
def test_another_cameras_partner_is_never_taken(tmp_path, own):
    items = [*camera('/front/', 2, 'front'), *camera('/rear/', 3, 'rear')]
    items = [item for item in items if item.topic != f'/front/{own}']
    source = open_source(record(tmp_path / 'bag.mcap', *items),
                         TopicNames(rgb='/front/rgb/image_raw'))
    assert [tell(frame) for frame in source] == [
        (2, None, 2) if 'depth' in own else (2, 2, None)]
    assert any(note.startswith(f'no {own.split("/")[-1][:6]}' if 'info' in own else 'no depth')
               for note in source.warnings)


@pytest.mark.parametrize('lacking', ['', 'depth_registered/image_rect', 'rgb/camera_info'])
@pytest.mark.parametrize('inner', [False, True])
def test_cameras_whose_namespaces_nest(tmp_path, inner, lacking):
    prefixes = ('/robot/camera/', '/robot/camera/arm/camera/')
    items = [item for value, prefix in enumerate(prefixes)
             for item in camera(prefix, value + 2, f'frame_{value}')
             if not lacking or item.topic != prefixes[inner] + lacking]
    source = open_source(record(tmp_path / 'bag.mcap', *items),
                         TopicNames(rgb=f'{prefixes[inner]}rgb/image_raw'))
    assert [tell(frame) for frame in source] == [
        (2 + inner, None if 'depth' in lacking else 2 + inner,
         None if 'info' in lacking else 2 + inner)]


def test_infrared_alone_is_the_colour_of_its_depth(tmp_path):
    infrared = message('/camera/infra1/image_rect_raw', 0, lambda stamp: image_message(
        np.full((6, 8, 3), 5, np.uint8), stamp, 'camera'))
    infrared.message.encoding, infrared.message.step = 'mono8', 8
    infrared.message.data = infrared.message.data[:48]
    path = record(tmp_path / 'bag.mcap', infrared, on('/camera/infra1/camera_info', info(9, 0)),
                  on('/camera/depth/image_rect_raw', depth(3, 0)))
    assert [tell(frame) for frame in open_source(path)] == [(5, 3, 9)]


def test_a_named_partner_leads_to_its_camera(tmp_path):
    items = [*camera('/front/', 2, 'front'), *camera('/rear_view/', 3, 'rear')]
    source = open_source(record(tmp_path / 'bag.mcap', *items), TopicNames(
        depth='/rear_view/depth_registered/image_rect'))
    assert [tell(frame) for frame in source] == [(3, 3, 3)]


def test_a_leading_slash_is_no_part_of_a_frame(tmp_path):
    colour, camera_info, metres = camera(
        '/cam/', 2, 'optical', colour='color/image_raw', camera_info='color/camera_info',
        depth_topic='aligned_depth_to_color/image_raw')
    metres.message.header.frame_id = '/optical'
    path = record(tmp_path / 'bag.mcap', colour, metres, camera_info)
    for names in (TopicNames(), TopicNames(depth=metres.topic)):
        assert [tell(frame) for frame in open_source(path, names)] == [(2, 2, 2)]


@pytest.mark.parametrize('stamp', [0, 5_000_000_000])
def test_equal_stamps_pair_by_recording_time(tmp_path, stamp):
    items = [item for n in range(6) for item in (
        info(9, 100 * n), image(n, 100 * n), later(depth(n + 1, 100 * n), 3))]
    for item in items:
        item.message.header.stamp.sec, item.message.header.stamp.nanosec = divmod(stamp, 10**9)
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    frames = list(source)
    assert [tell(frame) for frame in frames] == [(n, n + 1, 9) for n in range(6)]
    assert [frame.stamp for frame in frames] == [START + 100 * n * MS for n in range(6)]
    assert sum('header.stamp must be set' in note for note in source.warnings) == 2


@settings(max_examples=12, deadline=None)
@given(period=st.integers(40, 700), late=st.integers(-5000, 20_000),
       jitter=st.lists(st.integers(0, 20), min_size=12, max_size=12))
def test_depth_of_equal_stamp_is_found_however_late(tmp_path_factory, period, late, jitter):
    items = []
    for n, delay in enumerate(jitter):
        items += [later(image(n, period * n), 6000), info(9, period * n),
                  later(depth(n + 1, period * n), 6000 + late + delay)]
    items.sort(key=lambda item: item.stamp)
    path = record(tmp_path_factory.mktemp('late') / 'bag.mcap', *items)
    assert [int(frame.depth[0, 0]) for frame in open_source(path)] == list(range(1, 13))


@pytest.mark.parametrize(('slop', 'clouds'), [(None, 0), (0.05, 4), (0.0, 0)])
def test_sync_slop_decides_which_depth_belongs(tmp_path, slop, clouds):
    items = [item for n in range(4) for item in (
        info(9, 100 * n), image(n, 100 * n), depth(n + 1, 100 * n + 30))]
    source = open_source(record(tmp_path / 'bag.mcap', *items), None,
                         None if slop is None else BagSettings(sync_slop=slop))
    assert sum(frame.depth is not None for frame in source) == clouds
    told = any('+30.0 ms off (sync_slop: 0.05 accepts' in note for note in source.warnings)
    assert told == (not clouds)


@pytest.mark.parametrize('unit', [0.001, 0.0001, 0.0002])
def test_depth_scale_is_the_unit(tmp_path, unit):
    units = message(DEPTH, 0, lambda stamp: image_message(
        np.full((6, 8), 5000, np.uint16), stamp, 'camera'))
    path = record(tmp_path / 'bag.mcap', image(0, 0), info(9, 0), units)
    (frame,) = open_source(path, None, BagSettings(depth_scale=unit))
    np.testing.assert_allclose(frame.depth, 5000 * unit)


def test_bad_depth_costs_the_clouds_and_is_counted_once(tmp_path):
    items = [item for n in range(4) for item in (info(9, 50 * n), image(n, 50 * n),
                                                 depth(n + 1, 50 * n))]
    for length, item in zip((40, 80, 0), items[5::3]):
        item.message.data = item.message.data[:length]
    source = open_source(record(tmp_path / 'bag.mcap', *items))
    assert [frame.depth is None for frame in source] == [False, True, True, True]
    note, = source.warnings[1:]
    assert note.startswith(f'{DEPTH}: image 32FC1 8x6') and note.endswith('(3 of 4 frames)')


@pytest.mark.parametrize(('width', 'height'), [(1280, 720), (6, 8)])
def test_camera_info_of_another_aspect_costs_the_clouds(tmp_path, width, height):
    wrong = info(9, 0)
    wrong.message.width, wrong.message.height = width, height
    source = open_source(record(tmp_path / 'bag.mcap', image(0, 0), depth(1, 0), wrong))
    assert [frame.intrinsics for frame in source] == [None]
    assert any(f'{INFO}: camera_info of {width}x{height} with images of 8x6' in note
               for note in source.warnings)


@pytest.mark.parametrize('topic', [RGB, '/rgb/image_rect_color'])
def test_rectified_images_replayed_and_played_have_p_without_d(tmp_path, topic):
    given_info = info(9, 0)
    given_info.message.d, given_info.message.p[0] = np.full(5, 0.1), 7.0
    path = record(tmp_path / 'bag.mcap', on(topic, image(0, 0)), depth(1, 0), given_info)
    (frame,) = open_source(path)
    rectified = topic != RGB
    assert (frame.intrinsics.fx, bool(frame.intrinsics.distortion)) == (
        (7, False) if rectified else (9, True))
    played = [deserialise(item.data, CAMERA_INFO) for item in open_stream(path, TopicNames())
              if item.topic == 'rgb/camera_info']
    assert [(item.k[0], len(item.d)) for item in played] == [(7, 0) if rectified else (9, 5)]


def test_odd_depth_values_are_invalid(tmp_path):
    metres = depth_pixels(2)
    metres[0] = [np.nan, np.inf, -np.inf, -1, 1e-42, 3e38, 1001, 0]
    item = message(DEPTH, 0, lambda stamp: image_message(metres, stamp, 'camera'))
    (frame,) = open_source(record(tmp_path / 'bag.mcap', image(0, 0), info(9, 0), item))
    assert np.isnan(frame.depth[0]).all() and (frame.depth[1:] == 2).all()
