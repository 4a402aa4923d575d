"""Recordings are found in folders, lists, globs and stores, with names that stay unique."""

from pathlib import Path
import shutil

from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.recordings import find_recordings, local_copy
import fsspec
import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with two bags, a bag folder, two sequences, images, a video and others."""
    for name in ('a.mcap', 'day/b.db3', 'day/split/metadata.yaml', 'day/split/split_0.mcap',
                 'day/split/split_1.mcap', 'seq/rgb/0.png', 'seq/depth/0.png', 'seq/times.txt',
                 'tum/rgb.txt', 'tum/rgb/1.0.png', 'images/0.jpg', 'images/1.jpg', 'v/clip.mp4',
                 'readme.md', '.hidden/c.mcap', 'labelled/.diffseg_manifest.jsonl',
                 'labelled/output.mcap', 'labelled/labels/0.png'):
        path = tmp_path / 'tree' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / 'tree'


FOUND = ['a.mcap', 'day__b.db3', 'day__split', 'images', 'seq', 'tum', 'v__clip.mp4']


def names(*sources: object) -> list[str]:
    return [recording.name for recording in find_recordings(map(str, sources))]


def test_a_folder_is_searched(tree):
    assert names(tree) == FOUND
    assert all(recording.local and Path(recording.address).exists()
               for recording in find_recordings([str(tree)]))


def test_recordings_lists_and_globs(tree, tmp_path):
    assert names(tree / 'a.mcap') == ['a.mcap'] and names(tree / 'seq') == ['seq']
    assert names(tree / 'day' / '*') == ['b.db3', 'split']
    (tmp_path / 'list.txt').write_text(f'# two\n{tree}/a.mcap\n\n{tree}/seq\n{tree}/a.mcap\n')
    assert names(tmp_path / 'list.txt') == ['a.mcap', 'seq']


def test_equal_names_are_told_apart_and_stay(tree, tmp_path):
    shutil.copytree(tree / 'day', tmp_path / 'other')
    both = names(tree / 'day', tmp_path / 'other')
    assert len(set(both)) == 4 and both[0].startswith('b.db3-')
    assert both == names(tmp_path / 'other', tree / 'day')


def test_the_digest_is_of_sizes_and_times(tree):
    def digests() -> dict[str, str]:
        return {one.name: one.digest for one in find_recordings([str(tree)])}

    before = digests()
    assert digests() == before
    (tree / 'seq' / 'depth' / '1.png').write_text('new')
    (tree / 'a.mcap').write_text('longer than it was')
    assert {name for name, digest in digests().items() if digest != before[name]} == {
        'seq', 'a.mcap'}


@pytest.mark.parametrize('source', ['nowhere', 'no*where', 'empty', 'nowhere.txt',
                                    'nostore://bags'])
def test_what_is_not_there_is_named(tmp_path, source):
    (tmp_path / 'empty').mkdir()
    given = source if '://' in source else str(tmp_path / source)
    with pytest.raises(DiffsegError, match=source.replace('*', r'\*')):
        find_recordings([given])


def test_a_store_is_searched_and_read(tree, s3, tmp_path):
    store, root = fsspec.core.url_to_fs(s3)
    store.put(str(tree), f'{root}/runs', recursive=True)
    found = find_recordings([f'{s3}/runs'])
    assert [one.name for one in found] == FOUND and not any(one.local for one in found)
    assert [one.digest for one in find_recordings([f'{s3}/runs'])] == [
        one.digest for one in found]
    for recording in found:
        with local_copy(recording, tmp_path / 'copy') as path:
            original = tree / recording.address.removeprefix(f'{s3}/runs/')
            files = sorted(original.rglob('*')) if original.is_dir() else [original]
            for file in files:
                if file.is_file():
                    copied = path / file.relative_to(original) if path.is_dir() else path
                    assert copied.read_bytes() == file.read_bytes()
        assert not path.exists()
    assert [one.name for one in find_recordings([f'{s3}/runs/*.mcap'])] == ['a.mcap']
    with pytest.raises(DiffsegError, match='nowhere'):
        find_recordings([f'{s3}/nowhere'])
