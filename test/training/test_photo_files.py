"""Which photos are found in what users point at, and what is said of the rest."""

from __future__ import annotations

import io
import os
from pathlib import Path
import struct
import tarfile
import zlib

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.bag_writer import BagWriter
from diffseg_ros.io.messages import image_message, typestore
from diffseg_ros.training import photo_files
from diffseg_ros.training.photo_files import PhotoFiles
from diffseg_ros.training.photos import LONGEST_SHORT_SIDE, PhotoBank
import numpy as np
import pytest
import torch

CPU = torch.device('cpu')
SECOND = 10**9


def picture(seed, height=60, width=80):
    """Return smooth random blobs, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, suffix='.png'):
    return cv2.imencode(suffix, image)[1].tobytes()


def add(folder, *names, image=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(encoded(picture(number) if image is None else image,
                                            Path(name).suffix))
    return folder


def names(files):
    return [Path(name).name for name, _ in files]


def units():
    """Return depth in millimetres."""
    return np.full((60, 80), 1500, np.uint16)


def record(path, topics, frames=5, height=60, width=80):
    with BagWriter(path) as writer:
        for number in range(frames):
            for topic, build in topics.items():
                stamp = (number + 1) * SECOND
                writer.write(topic, image_message(build(number), stamp, 'camera'), stamp)
    return path


def test_of_a_sequence_folder_only_its_colour_images_are_taken(tmp_path):
    sequence = tmp_path / 'recordings' / 'kitchen'
    add(sequence / 'rgb', '000000.jpg', '000001.jpg')
    for part in ('depth', 'instances'):
        add(sequence / part, '000000.png', '000001.png', image=units())
    for path in (sequence, tmp_path / 'recordings'):
        files = PhotoFiles([path])
        assert names(files) == ['000000.jpg', '000001.jpg'] and not files.skipped


def test_of_a_mask_data_set_only_its_images_are_taken(tmp_path):
    add(tmp_path / 'images', 'a.jpg', 'b.jpg')
    add(tmp_path / 'labels', 'a.png', 'b.png', image=np.full((60, 80), 3, np.uint8))
    assert names(PhotoFiles([tmp_path])) == ['a.jpg', 'b.jpg']


def test_depth_images_among_photos_are_skipped_and_counted(tmp_path):
    add(tmp_path, 'photo.png', 'scan.tiff')
    add(tmp_path, 'depth.png', 'depth.tif', image=units())
    add(tmp_path, 'metres.tiff', image=np.ones((60, 80), np.float32))
    add(tmp_path, 'deep.png', image=picture(5).astype(np.uint16) * 257)
    with tarfile.open(tmp_path / 'more.tar', 'w') as tar:
        for name in ('photo.png', 'depth.png'):
            tar.add(tmp_path / name)
    files = PhotoFiles([tmp_path, tmp_path / 'more.tar', tmp_path / 'depth.png'])
    assert names(files) == ['deep.png', 'photo.png', 'scan.tiff', 'photo.png']
    kind = 'images with one channel of 16 bits or more (depth, ids)'
    assert files.skipped == {kind: 5, 'files of other kinds': 1}


def test_what_is_no_file_or_of_another_kind_is_skipped_and_counted(tmp_path):
    add(tmp_path, 'a.png', 'b.TIF')
    (tmp_path / 'gone.jpg').symlink_to(tmp_path / 'nowhere.jpg')
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'notes.txt').write_text('none')
    (tmp_path / 'loop').symlink_to(tmp_path)
    add(tmp_path / 'folder.jpg', 'c.png')
    files = PhotoFiles([tmp_path])
    assert names(files) == ['a.png', 'b.TIF', 'c.png']
    assert files.skipped == {
        'links to nothing and other things that are no files': 2, 'files of other kinds': 1,
        'links to folders': 1}


def giant():
    """Return the header of a PNG image of 60000x60000 pixels."""
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    return (b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(b'\0' * 1000)) + chunk(b'IEND', b''))


def test_empty_and_giant_files_count_as_unreadable(tmp_path):
    add(tmp_path, 'a.png', 'b.png')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'giant.png').write_bytes(giant())
    bank, unreadable = PhotoBank.load([photo for _, photo in PhotoFiles([tmp_path])], CPU)
    assert unreadable == 2 and bank.heights.tolist() == [60, 60]


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:xz'])
def test_a_truncated_tar_is_named_in_one_line(tmp_path, mode):
    path = tmp_path / 'photos.tar'
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    with tarfile.open(path, mode) as tar:
        for number in range(6):
            data = encoded(noise + number)
            member = tarfile.TarInfo(f'{number}.png')
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(DiffsegError, match='photos.tar: truncated or damaged tar') as caught:
        list(PhotoFiles([path]))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['bag.mcap', 'bag.db3', 'bag'])
def test_the_colour_images_of_bags_are_photos(tmp_path, name):
    def metres(number):
        return np.full((60, 80), 1.0 + number, np.float32)

    path = record(tmp_path / 'bags' / name,
                  {'/cam/color/image_raw': picture, '/cam/depth/image_rect': metres})
    for given in (path, path.parent):
        files = PhotoFiles([given])
        photos = [photo for _, photo in files]
        assert len(photos) == 5 and not files.skipped
        for number, photo in enumerate(photos):
            np.testing.assert_array_equal(photo, picture(number))
        [note] = files.notes
        assert note == f'{path}: frames of /cam/color/image_raw'
    bank, unreadable = PhotoBank.load(photos, CPU)
    assert unreadable == 0 and len(bank.heights) == 5


def test_an_option_chooses_the_topic(tmp_path):
    path = record(tmp_path / 'bag.mcap', {'/left/image_raw': picture,
                                          '/right/image_raw': lambda n: picture(n + 50)})
    files = PhotoFiles([path], '/right/image_raw')
    np.testing.assert_array_equal(next(iter(files))[1], picture(50))
    assert files.notes == [f'{path}: frames of /right/image_raw; --rgb-topic takes another of '
                           '/left/image_raw']
    with pytest.raises(DiffsegError, match='no topic /up/image_raw'):
        list(PhotoFiles([path], '/up/image_raw'))


def test_long_bags_are_thinned_and_large_frames_shrunk(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_files, 'MOST_FRAMES', 3)
    path = record(tmp_path / 'bag.mcap',
                  {'/rgb/image_raw': lambda n: picture(n, 480, 640)}, frames=7)
    files = PhotoFiles([path])
    photos = [photo for _, photo in files]
    assert [photo.shape for photo in photos] == [(LONGEST_SHORT_SIDE, 427, 3)] * 3
    assert 'one in 3 of 7' in files.notes[0]


def test_frames_that_cannot_be_decoded_are_counted(tmp_path):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        for number in range(4):
            stamp = (number + 1) * SECOND
            message = image_message(picture(number), stamp, 'camera')
            if number == 2:
                message.data = message.data[:100]
            writer.write('/rgb/image_raw', message, stamp)
    files = PhotoFiles([path])
    assert len(list(files)) == 3
    assert files.skipped == {'frames of bags that cannot be decoded': 1}


def test_a_bag_without_images_is_named(tmp_path):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        writer.write('/chatter', typestore().types['std_msgs/msg/String']('hello'), SECOND)
    with pytest.raises(DiffsegError, match='no topic with colour images'):
        list(PhotoFiles([path]))
