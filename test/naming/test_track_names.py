"""Names from several pictures: means, doubt, and when a name changes."""

from __future__ import annotations

from diffseg_ros.naming.base import NamingSettings
from diffseg_ros.naming.track_names import TrackNames
from diffseg_ros.types import SegmentKind, Track, TrackState
import numpy as np
import pytest
from stub_naming import ColourModel

WORDS = 'red', 'green', 'blue'
RED, GREEN, BLUE, GREY = (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.4, 0.3, 0.3)


def track(identity=1, pixels=100, kind=SegmentKind.UNKNOWN):
    return Track(identity, TrackState.CONFIRMED, 9, 0, pixels, kind=kind)


def names(**settings):
    return TrackNames(ColourModel(), NamingSettings(**{'vocabulary': WORDS, **settings}))


def add(found, colour, one=None):
    one = one or track()
    found.add([one], np.array([colour], np.float32))
    return found.name_of(one)


def test_the_first_picture_names_and_no_picture_does_not():
    found = names()
    assert found.name_of(track()) == ('', 0.0)
    assert add(found, RED) == ('red', pytest.approx(1))
    assert found.embedding(1).tolist() == [1, 0, 0] and found.embedding(2) is None


def test_a_name_that_is_not_clearly_the_best_is_unknown():
    assert add(names(), GREY)[0] == 'unknown'
    assert add(names(margin=0.05), GREY)[0] == 'red'


def test_larger_views_count_more():
    found = names()
    add(found, RED, track(pixels=300))
    add(found, GREEN, track(pixels=100))
    np.testing.assert_allclose(found.embedding(1), [0.75, 0.25, 0], rtol=1e-6)


def test_a_name_changes_only_after_another_held():
    found = names(hold=3)
    add(found, RED, track(pixels=1))
    heard = [add(found, BLUE, track(pixels=100))[0] for _ in range(4)]
    assert heard == ['red', 'red', 'blue', 'blue']


def test_doubt_in_between_begins_the_wait_anew():
    found = names(hold=2)
    add(found, RED, track(pixels=1))
    heard = [add(found, colour, track(pixels=pixels))[0] for colour, pixels in (
        (BLUE, 2), (RED, 4), (BLUE, 20), (BLUE, 20))]
    assert heard == ['red', 'red', 'red', 'blue']


def test_another_vocabulary_names_anew_without_pictures():
    found = names()
    add(found, (0.5, 0, 0.5))
    assert found.name_of(track())[0] == 'unknown'
    found.configure(NamingSettings(vocabulary=('blue', 'green')))
    assert found.name_of(track())[0] == 'blue'
    assert found.embeddings[1].shape == (1, 3)


def test_surfaces_are_named_by_their_shape(tmp_path):
    path = tmp_path / 'words.yaml'
    path.write_text('- red\n- {name: green, shape: table}\n- {name: blue, shape: table}\n'
                    '- {name: ground, shape: floor}\n')
    found = names(vocabulary=(str(path),))
    floor, table = track(1, kind=SegmentKind.FLOOR), track(2, kind=SegmentKind.TABLE)
    assert found.name_of(floor) == ('ground', 1.0)
    assert add(found, RED, floor) == ('ground', 1.0)
    assert found.name_of(table) == ('green', 1.0)
    # A name of that shape is kept where pictures gave it.
    assert add(found, BLUE, table)[0] == 'blue'
    assert found.without_meaning == []
    # A shape that is not clear any more is not another one; an object is what it looks like.
    found.observe([floor, table])
    assert found.name_of(track(1))[0] == 'ground'
    assert found.name_of(track(1, kind=SegmentKind.OBJECT))[0] == 'red'
    found.observe([track(1, kind=SegmentKind.TABLE)])
    assert found.name_of(track(1))[0] == 'green' and found.name_of(track(2)) == ('', 0.0)


def test_tracks_that_are_gone_are_forgotten():
    found = names()
    add(found, RED, track(1))
    add(found, RED, track(2))
    found.observe([track(2)])
    assert found.views == {2: 1} and found.best == {2: 100}
