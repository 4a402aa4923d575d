"""Where the cause is known it is said, with the remedy."""

from __future__ import annotations

from types import SimpleNamespace

from bag_recipes import depth, image, info, record
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.base import BagSettings, TopicNames
from diffseg_ros.io.source import open_source
import pytest


def moved(item: SimpleNamespace, topic: str) -> SimpleNamespace:
    """Return a message on another topic."""
    item.topic = topic
    return item


@pytest.mark.parametrize('topic', ['/camera/camera/depth/image_rect_raw',
                                   '/depth_registered/image_rect'])
def test_depth_that_is_not_aligned_is_named_with_its_frame_and_the_remedy(tmp_path, topic):
    items = [item for n in range(3) for item in (
        info(9.0, 50 * n), image(n, 50 * n), moved(depth(1, 50 * n, 'depth_frame'), topic))]
    source = open_source(record(tmp_path / 'bag', *items))
    frames = list(source)
    assert [frame.depth for frame in frames] == [None] * 3
    notes = [note for note in source.warnings if 'align_depth.enable:=true' in note]
    assert len(notes) == 1
    assert topic in notes[0] and "'depth_frame'" in notes[0]


@pytest.mark.parametrize('offset', [25, 30, 99, -60])
def test_slop_that_is_named_would_do(tmp_path, offset):
    bag = record(tmp_path / 'bag', *sorted(
        (item for n in range(3) for item in (
            info(9.0, 300 * n), image(n, 300 * n), depth(1, 300 * n + offset))),
        key=lambda item: item.stamp))
    source = open_source(bag)
    assert [frame.depth for frame in source] == [None] * 3
    note, = (note for note in source.warnings if 'sync_slop' in note)
    slop = float(note.partition('sync_slop: ')[2].split()[0])
    again = open_source(bag, settings=BagSettings(sync_slop=slop))
    assert all(frame.depth is not None for frame in again)


def test_depth_that_no_slop_reaches_is_told_without_one(tmp_path):
    items = [item for n in range(3) for item in (
        info(9.0, 300 * n), image(n, 300 * n), depth(1, 300 * n + 5000))]
    source = open_source(record(tmp_path / 'bag', *items))
    assert [frame.depth for frame in source] == [None] * 3
    note, = (note for note in source.warnings if 'the nearest is +' in note)
    assert 'sync_slop' not in note


def test_misspelt_topic_is_answered_with_the_nearest_of_its_type(tmp_path):
    others = [moved(image(n, n), f'/camera_{n}/image') for n in range(20)]
    bag = record(tmp_path / 'bag', info(9.0, 0), depth(1, 0), image(0, 0), *others)
    with pytest.raises(DiffsegError) as refused:
        open_source(bag, TopicNames(rgb='/rgb/imge_raw'))
    names = str(refused.value).partition('nearest are ')[2].split(', ')
    assert names[0] == '/rgb/image_raw'
    assert len(names) == 3
