"""Files with tolerances, and what is beyond them."""

from diffseg_ros.comparison.tolerances import excesses, read_tolerances
from diffseg_ros.errors import DiffsegError
import pytest


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize('text', ['moved_share_mean: 0.05\ntracks_lost: 3\n',
                                  '{"moved_share_mean": 0.05, "tracks_lost": 3}'])
def test_yaml_and_json_are_read(tmp_path, text):
    assert read_tolerances(written(tmp_path / 'file', text)) == {'moved_share_mean': 0.05,
                                                                 'tracks_lost': 3.0}


@pytest.mark.parametrize(('text', 'words'), [
    ('moved_share: 0.1', "'moved_share' is no figure .* did you mean moved_share_"),
    ('speed: 2', "'speed' is no figure .* choose from moved_share_mean"),
    ('tracks_lost: many', "tracks_lost: got 'many'; a number"),
    ('tracks_lost: -1', 'tracks_lost: got -1'), ('tracks_lost: true', 'got True'),
    ('seconds_ratio: .nan', 'got nan'), ('- 1', 'got list'), ('a: [', 'cannot be read'),
    ('', 'got NoneType')])
def test_what_is_no_tolerance_is_refused_by_name(tmp_path, text, words):
    path = written(tmp_path / 'limits.yaml', text)
    with pytest.raises(DiffsegError, match=words) as refused:
        read_tolerances(path)
    assert str(refused.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DiffsegError, match='nowhere.yaml: cannot be read'):
        read_tolerances(tmp_path / 'nowhere.yaml')


def test_beyond_is_above_and_what_is_not_known():
    figures = {'moved_share_mean': 0.05, 'tracks_lost': 4, 'seconds_ratio': None}
    found = excesses(figures, {'seconds_ratio': 2.0, 'moved_share_mean': 0.05, 'tracks_lost': 3})
    assert [str(excess) for excess in found] == ['tracks_lost 4, tolerance 3',
                                                 'seconds_ratio not known, tolerance 2']
    assert excesses(figures, {}) == []
