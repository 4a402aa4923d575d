"""Recordings are found in folders, lists, globs and stores, with names that stay unique."""

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil

from diffseg_ros.errors import DiffsegError
from diffseg_ros.fleet.index import Row
from diffseg_ros.fleet.recordings import find_recordings, local_copy, named_as_before
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


def test_the_digest_is_the_same_however_a_recording_is_named(tree):
    digests = {one.address: one.digest for one in find_recordings([str(tree)])}
    for source in ('*', 'day', 'day/*.db3', 'a.mcap', 'seq/'):
        for one in find_recordings([f'{tree}/{source}']):
            if one.address in digests:
                assert one.digest == digests[one.address]


def test_names_of_before_stay(tree):
    found = find_recordings([str(tree / 'day'), str(tree / 'images')])
    b, images, split = found
    rows = {name: Row(name, address, '', '', '', '', error=error) for name, address, error in (
        ('old', b.address, ''), ('images', '/elsewhere', 'broken'), ('split', '/elsewhere', ''))}
    again = named_as_before(found, rows)
    assert {one.address for one in again} == {one.address for one in found}
    renamed = {one.address: one.name for one in again}
    assert renamed[b.address] == 'old' and renamed[split.address] == 'split'
    assert renamed[images.address].startswith('images-')
    swapped = {'split': replace(rows['old'], recording='split')}
    assert len({one.name for one in named_as_before(found, swapped)}) == 3


def test_a_name_that_is_too_long_is_cut_and_stays_unique(tmp_path):
    for last in 'xy':
        path = tmp_path.joinpath(*4 * ['é' * 50], f'{last}.mcap')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')
    found = names(tmp_path)
    assert len(set(found)) == 2 and all(len(name.encode()) <= 199 for name in found)


def test_links_are_followed_and_no_folder_is_found_twice(tree, tmp_path):
    links = tmp_path / 'links'
    links.mkdir()
    for name in ('seq', 'day'):
        (links / name).symlink_to(tree / name)
    (links / 'day_again').symlink_to(tree / 'day')
    (links / 'round').symlink_to(links)
    (links / 'hidden').symlink_to(tree / '.hidden')
    (links / 'gone.mcap').symlink_to(tree / 'gone.mcap')
    assert names(links) == ['day__b.db3', 'day__split', 'gone.mcap', 'hidden__c.mcap', 'seq']
    assert len(names(links / 'd*' / 'b.db3')) == 2  # asked for by two names


def test_the_digest_of_a_link_is_that_of_what_it_leads_to(tree, tmp_path):
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links' / 'a.mcap').symlink_to(tree / 'a.mcap')
    (before,) = find_recordings([str(tmp_path / 'links')])
    os.utime(tree / 'a.mcap', (1, 1))
    (after,) = find_recordings([str(tmp_path / 'links')])
    assert after.digest != before.digest


def test_one_recording_by_two_paths_is_one(tree, monkeypatch):
    monkeypatch.chdir(tree / 'day')
    assert names('../a.mcap', tree / 'a.mcap', f'{tree}/day/../a.mcap', '../a.mcap') == ['a.mcap']


def test_images_beside_bags_are_no_recording(tree):
    (tree / 'preview.png').write_text('')
    (tree / 'day' / 'preview.jpg').write_text('')
    assert names(tree) == FOUND


@pytest.mark.parametrize('written', ['kitchen.mp4', 'labels/000000.png'])
def test_what_a_command_wrote_beside_recordings_hides_nothing_else(tmp_path, written):
    for name in ('a.mcap', written):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
    (tmp_path / '.diffseg_manifest.jsonl').write_text(
        json.dumps(['diffseg_map', written, 0, 0]) + '\n')
    if '/' in written:  # a folder of results
        with pytest.raises(DiffsegError, match='no recording there'):
            find_recordings([str(tmp_path)])
    else:
        assert names(tmp_path) == ['a.mcap']


def test_what_a_command_wrote_is_left_out_in_a_store_too(tmp_path):
    store = fsspec.filesystem('memory')
    root = f'/{tmp_path.name}'
    line = json.dumps(['diffseg_map', 'kitchen.mp4', 0, 0]).encode()
    store.pipe({f'{root}/{name}': line for name in ('.diffseg_manifest.jsonl', 'kitchen.mp4',
                                                    'a.mcap')})
    assert names(f'memory:/{root}') == ['a.mcap']


@pytest.mark.parametrize('name', ['run[1].mcap', 'run*.mcap', 'seq[1]/rgb/0.png'])
def test_a_name_in_a_store_is_no_glob(tmp_path, name):
    store, root = fsspec.filesystem('memory'), f'/{tmp_path.name}'
    store.pipe({f'{root}/{file}': file.encode() for file in ('run1.mcap', name)})
    found = {one.name: one for one in find_recordings([f'memory:/{root}'])}
    with local_copy(found[name.partition('/')[0]], tmp_path / 'copy'):
        assert [path.relative_to(tmp_path / 'copy').as_posix() for path in
                (tmp_path / 'copy').rglob('*') if path.is_file()] == [name]
        assert (tmp_path / 'copy' / name).read_text() == name


def test_lists_of_other_systems_can_be_read(tree, tmp_path):
    listed = tmp_path / 'list.txt'
    listed.write_bytes(f'\ufeff{tree}/a.mcap\r\n\r\n# no\r\n{tree}/seq\r\n'.encode())
    assert names(listed) == ['a.mcap', 'seq']


@pytest.mark.parametrize(('lines', 'told'), [
    ('# nothing\n', 'the list is empty'), ('other.txt\n', 'names another list, other.txt')])
def test_a_list_that_names_no_recording_is_told(tmp_path, lines, told):
    (tmp_path / 'list.txt').write_text(lines)
    with pytest.raises(DiffsegError, match=f'list.txt: .*{told}'):
        find_recordings([str(tmp_path / 'list.txt')])


def test_a_name_that_the_tables_cannot_hold_is_told(tree):
    (tree / os.fsdecode(b'caf\xe9.mcap')).write_text('')
    with pytest.raises(DiffsegError, match='caf.*not UTF-8'):
        find_recordings([str(tree)])


def test_a_folder_that_cannot_be_listed_is_told(tree, monkeypatch):
    def scandir(path, listed=os.scandir):
        if Path(path).name == 'day':
            raise PermissionError(13, 'Permission denied', str(path))
        return listed(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    with pytest.raises(DiffsegError, match='Permission denied.*day'):
        find_recordings([str(tree)])


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
