"""Which images are found in what users point at, and what is reported of the rest."""

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
from diffseg_ros.training import images as training_images
from diffseg_ros.training.images import LONGEST_SHORT_SIDE, TrainingImages
import numpy as np
from PIL import Image
import pytest

SECOND = 10**9


def picture(seed, height=60, width=80):
    """Return smooth random blobs, RGB."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image, suffix='.png'):
    return cv2.imencode(suffix, image)[1].tobytes()


def add(folder, *names, image=None):
    """Write images, each one pixel wider than the one before, or always the same."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = picture(number, width=80 + number) if image is None else image
        (folder / name).write_bytes(encoded(pixels, Path(name).suffix))
    return folder


def widths(images):
    return [image.shape[1] for image in images]


def units():
    """Return depth in millimetres."""
    return np.full((60, 80), 1500, np.uint16)


def record(path, topics, frames=5):
    with BagWriter(path) as writer:
        for number in range(frames):
            for topic, build in topics.items():
                stamp = (number + 1) * SECOND
                writer.write(topic, image_message(build(number), stamp, 'camera'), stamp)
    return path


def archive(path, members, mode='w'):
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_folders_tars_and_single_files_are_read(tmp_path):
    add(tmp_path / 'folder', '0.png', '1.png')
    tar = archive(tmp_path / 'more.tar', {'a/x.png': encoded(picture(7)), 'a/notes.txt': b'none'})
    images = TrainingImages([tmp_path / 'folder', tar, tmp_path / 'folder' / '1.png'])
    assert widths(images) == [80, 81, 80, 81] and images.skipped == {'files of other kinds': 1}
    np.testing.assert_array_equal(list(images)[2][..., ::-1], picture(7))


def test_missing_and_unsupported_paths_are_named(tmp_path):
    with pytest.raises(DiffsegError, match='nowhere: no such path'):
        list(TrainingImages([tmp_path / 'nowhere']))
    (tmp_path / 'x.doc').write_text('text')
    with pytest.raises(DiffsegError, match='unsupported file'):
        list(TrainingImages([tmp_path / 'x.doc']))


def test_of_a_sequence_folder_only_its_colour_images_are_taken(tmp_path):
    sequence = tmp_path / 'recordings' / 'kitchen'
    add(sequence / 'rgb', '000000.jpg', '000001.jpg')
    for part in ('depth', 'instances'):
        add(sequence / part, '000000.png', '000001.png', image=units())
    for path in (sequence, tmp_path / 'recordings'):
        images = TrainingImages([path])
        assert widths(images) == [80, 81] and not images.skipped


def test_of_a_mask_data_set_only_its_images_are_taken(tmp_path):
    add(tmp_path / 'images', 'a.jpg', 'b.jpg')
    add(tmp_path / 'labels', 'a.png', 'b.png', image=np.full((60, 90), 3, np.uint8))
    assert widths(TrainingImages([tmp_path])) == [80, 81]


def test_depth_images_are_skipped_and_counted(tmp_path):
    add(tmp_path, 'photo.png', 'scan.tiff')
    add(tmp_path, 'depth.png', 'depth.tif', image=units())
    add(tmp_path, 'metres.tiff', image=np.ones((60, 80), np.float32))
    add(tmp_path, 'deep.png', image=picture(5, width=99).astype(np.uint16) * 257)
    with tarfile.open(tmp_path / 'more.tar', 'w') as tar:
        for name in ('photo.png', 'depth.png'):
            tar.add(tmp_path / name)
    images = TrainingImages([tmp_path, tmp_path / 'more.tar', tmp_path / 'depth.png'])
    assert widths(images) == [99, 80, 81, 80]
    kind = 'images with one channel of 16 bits or more (depth, ids)'
    assert images.skipped == {kind: 5, 'files of other kinds': 1}


def test_what_is_no_file_or_of_another_kind_is_skipped_and_counted(tmp_path):
    add(tmp_path, 'a.png', 'b.TIF')
    (tmp_path / 'gone.jpg').symlink_to(tmp_path / 'nowhere.jpg')
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'notes.txt').write_text('none')
    (tmp_path / 'loop').symlink_to(tmp_path)
    add(tmp_path / 'folder.jpg', 'c.png')
    images = TrainingImages([tmp_path])
    assert widths(images) == [80, 81, 80]
    assert images.skipped == {'broken links and special files': 2, 'files of other kinds': 1,
                              'links to folders': 1}


def giant():
    """Return the header of a PNG image of 60000x60000 pixels."""
    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    return (b'\x89PNG\r\n\x1a\n'
            + chunk(b'IHDR', struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(b'\0' * 1000)) + chunk(b'IEND', b''))


def test_damaged_giant_and_small_images_count_as_unreadable(tmp_path):
    add(tmp_path, 'a.png', 'b.png')
    add(tmp_path, 'small.png', image=picture(0, 20, 20))
    (tmp_path / 'cut.jpg').write_bytes(encoded(picture(1), '.jpg')[:-300])
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'giant.png').write_bytes(giant())
    images = TrainingImages([tmp_path])
    assert widths(images) == [80, 81] and images.unreadable == 4


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(0)).save(tmp_path / 'turned.png', exif=exif)
    [image] = TrainingImages([tmp_path])
    np.testing.assert_array_equal(image, np.rot90(picture(0), -1))


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:xz'])
def test_a_truncated_tar_is_named_in_one_line(tmp_path, mode):
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    path = archive(tmp_path / 'photos.tar',
                   {f'{number}.png': encoded(noise + number) for number in range(6)}, mode)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(DiffsegError, match='photos.tar: truncated or damaged tar') as caught:
        list(TrainingImages([path]))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['bag.mcap', 'bag.db3', 'bag'])
def test_the_colour_images_of_bags_are_read(tmp_path, name):
    def metres(number):
        return np.full((60, 80), 1.0 + number, np.float32)

    path = record(tmp_path / 'bags' / name,
                  {'/cam/color/image_raw': picture, '/cam/depth/image_rect': metres})
    for given in (path, path.parent):
        images = TrainingImages([given])
        found = list(images)
        assert len(found) == 5 and not images.skipped
        for number, image in enumerate(found):
            np.testing.assert_array_equal(image, picture(number))
        assert images.bags == [f'{path}: frames of /cam/color/image_raw']


def test_an_option_chooses_the_topic(tmp_path):
    path = record(tmp_path / 'bag.mcap', {'/left/image_raw': picture,
                                          '/right/image_raw': lambda n: picture(n + 50)})
    images = TrainingImages([path], '/right/image_raw')
    np.testing.assert_array_equal(next(iter(images)), picture(50))
    assert images.bags == [f'{path}: frames of /right/image_raw; --rgb-topic takes another of '
                           '/left/image_raw']
    with pytest.raises(DiffsegError, match='no topic /up/image_raw'):
        list(TrainingImages([path], '/up/image_raw'))


def test_long_recordings_are_thinned_and_large_frames_shrunk(tmp_path, monkeypatch):
    monkeypatch.setattr(training_images, 'MOST_FRAMES', 3)
    record(tmp_path / 'bag.mcap', {'/rgb/image_raw': lambda n: picture(n, 480, 640)}, frames=7)
    video = cv2.VideoWriter(str(tmp_path / 'video.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10.0,
                            (640, 480))
    for number in range(7):
        video.write(picture(number, 480, 640)[..., ::-1])
    video.release()
    images = TrainingImages([tmp_path])
    found = list(images)
    assert [image.shape for image in found] == [(LONGEST_SHORT_SIDE, 427, 3)] * 6
    for frame, decoded in zip(found[:3], found[3:], strict=True):
        assert np.abs(frame.astype(float) - decoded).mean() < 5
    assert 'one in 3 of 7' in images.bags[0] and not images.skipped


def test_frames_that_cannot_be_decoded_are_counted(tmp_path):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        for number in range(4):
            stamp = (number + 1) * SECOND
            message = image_message(picture(number), stamp, 'camera')
            if number == 2:
                message.data = message.data[:100]
            writer.write('/rgb/image_raw', message, stamp)
    images = TrainingImages([path])
    assert len(list(images)) == 3
    assert images.skipped == {'frames of bags that cannot be decoded': 1}


def test_a_bag_without_images_is_named(tmp_path):
    path = tmp_path / 'bag.mcap'
    with BagWriter(path) as writer:
        writer.write('/chatter', typestore().types['std_msgs/msg/String']('hello'), SECOND)
    with pytest.raises(DiffsegError, match='no topic with colour images'):
        list(TrainingImages([path]))
