import os
from pathlib import Path

import cv2
from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.images import read_image, read_labels, write_image, write_labels
import numpy as np
from PIL import Image
import pytest

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize('image', [RGB, RGB[..., 0]], ids=['rgb', 'grey'])
def test_written_images_come_back(tmp_path, image):
    path = tmp_path / 'new' / 'image.png'
    write_image(str(path), image)
    expected = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(str(path)), expected)
    assert list(path.parent.iterdir()) == [path]


def test_written_labels_come_back(tmp_path):
    labels = np.array([[-1, 0, 1], [2, 65533, 65534]], np.int32)
    write_labels(tmp_path / 'labels.png', labels)
    np.testing.assert_array_equal(read_labels(tmp_path / 'labels.png'), labels)
    assert np.asarray(Image.open(tmp_path / 'labels.png')).max() == 65535
    for wrong in (65535, -2):
        with pytest.raises(DiffsegError, match='a 16-bit label image holds 0 to 65534'):
            write_labels(tmp_path / 'labels.png', np.full((2, 2), wrong, np.int32))
    write_image(tmp_path / 'rgb.png', RGB)
    with pytest.raises(DiffsegError, match='16-bit image'):
        read_labels(tmp_path / 'rgb.png')


def test_names_that_are_not_utf8_work(tmp_path):
    path = tmp_path / os.fsdecode(b'caf\xe9.png')
    write_image(path, RGB)
    np.testing.assert_array_equal(read_image(path), RGB)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_upright_by_their_orientation(tmp_path, orientation):
    turned = {1: RGB, 2: RGB[:, ::-1], 3: np.rot90(RGB, 2), 4: RGB[::-1],
              5: RGB.swapaxes(0, 1), 6: np.rot90(RGB), 7: np.rot90(RGB, 2).swapaxes(0, 1),
              8: np.rot90(RGB, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'image.png'
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), RGB)


RAMP = np.linspace(0, 1, 64, dtype=np.float32).repeat(3).reshape(8, 8, 3)
GREY = np.repeat(np.uint8(np.round(RAMP * 255))[..., 1:2], 3, axis=2)


@pytest.mark.parametrize(('name', 'pixels'), [
    ('float.tiff', RAMP), ('grey_float.tiff', RAMP[..., 1]), ('range.tiff', RAMP[..., 1] * 80 + 3),
    ('colour16.png', np.uint16(RAMP * 65535)), ('colour16.tiff', np.uint16(RAMP * 65535)),
    ('grey16.png', np.uint16(RAMP[..., 1] * 65535)), ('dim.png', np.uint16(RAMP[..., 1] * 4095)),
    ('dim_colour.png', np.uint16(RAMP * 4095))])
def test_more_than_8_bits(tmp_path, name, pixels):
    (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix, pixels)[1].tobytes())
    assert np.abs(read_image(tmp_path / name).astype(int) - GREY).max() <= 4


@pytest.mark.parametrize('mode', ['CMYK', 'L', 'LA', 'P', '1', 'RGBA'])
def test_modes_of_photos(tmp_path, mode):
    grey = Image.fromarray(np.kron(RGB[..., 1] // 128 * 255, np.ones((8, 8), np.uint8)))
    path = tmp_path / ('image.tif' if mode == 'CMYK' else 'image.png')
    grey.convert('RGB').convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(grey.convert('RGB')))


def test_what_is_transparent_is_grey(tmp_path):
    rgba = np.full((4, 6, 4), (255, 0, 255, 255), np.uint8)
    rgba[:, :3, 3] = 0
    Image.fromarray(rgba).save(tmp_path / 'image.png')
    rgb = read_image(tmp_path / 'image.png')
    assert (rgb[:, :3] == 128).all() and (rgb[:, 3:] == (255, 0, 255)).all()


def test_the_first_picture_of_an_animation_and_wrong_suffixes(tmp_path):
    pictures = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    for name, kind in (('image.png', 'webp'), ('image.jpg', 'gif'), ('image.bmp', 'png')):
        pictures[0].save(tmp_path / name, kind, save_all=True, append_images=pictures[1:],
                         **{'lossless': True} if kind == 'webp' else {})
        assert read_image(tmp_path / name).shape == RGB.shape
    np.testing.assert_array_equal(read_image(tmp_path / 'image.png'), RGB)


def test_kinds_that_are_not_read_are_named(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
    with pytest.raises(DiffsegError, match='HEIC; convert it'):
        read_image(tmp_path / 'photo.jpg')


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    for name, word in (('none.png', 'cannot be read'), ('text.png', 'no readable image')):
        with pytest.raises(DiffsegError, match=f'{name}: {word}'):
            read_image(tmp_path / name)
    with pytest.raises(DiffsegError, match=r"suffix '.docx'; use .png or .jpg"):
        write_image(tmp_path / 'image.docx', RGB)
    with pytest.raises(DiffsegError, match=r'image\.png: cannot be written'):
        write_image(tmp_path / 'text.png' / 'image.png', RGB)
