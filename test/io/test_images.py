import os

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


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    for name, word in (('none.png', 'cannot be read'), ('text.png', 'no readable image')):
        with pytest.raises(DiffsegError, match=f'{name}: {word}'):
            read_image(tmp_path / name)
    with pytest.raises(DiffsegError, match=r"suffix '.docx'; use .png or .jpg"):
        write_image(tmp_path / 'image.docx', RGB)
    with pytest.raises(DiffsegError, match=r'image\.png: cannot be written'):
        write_image(tmp_path / 'text.png' / 'image.png', RGB)
