from fractions import Fraction
import re
import sys

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.source import open_source
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

av = pytest.importorskip('av')


def write_video(path, *, codec='mpeg4', rotation=0, times=range(0, 400, 40),
                time_base=Fraction(1, 25)):
    """Write 64x32 frames, white at the top left, whose blue rises with their number."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, (
            'rgb24' if codec == 'png' else 'yuv420p')
        stream.time_base = stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, milliseconds in enumerate(times):
            pixels = np.full((32, 64, 3), (0, 0, 20 * number), np.uint8)
            pixels[:16, :16] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            frame.pts, frame.time_base = int(milliseconds / 1000 / time_base), time_base
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize('name', ['film.mp4', 'film.mkv', 'film.avi', 'FILM.MOV'])
def test_frames_and_their_times(tmp_path, name):
    source = open_source(write_video(tmp_path / name))
    assert (source.name, source.frame_count, source.warnings) == (name[:-4], 10, [])
    for _ in range(2):
        frames = list(source)
        assert [frame.stamp for frame in frames] == [n * 40_000_000 for n in range(10)]
        assert [round(int(frame.rgb[-4, -4, 2]) / 20) for frame in frames] == list(range(10))
        assert frames[0].rgb.shape == (32, 64, 3) and frames[0].rgb[4, 4].min() > 200
    assert [item.number for item in source.numbered_frames()] == list(range(10))
    later = list(source.numbered_frames(8))
    assert [item.number for item in later] == [8, 9]
    np.testing.assert_array_equal(later[0].frame.rgb, frames[8].rgb)


def test_intrinsics_of_a_video_lie_beside_it(tmp_path):
    path = write_video(tmp_path / 'film.mkv')
    assert next(iter(open_source(path))).intrinsics is None
    camera = tmp_path / 'film.camera.json'
    assert open_source(path).camera_file == str(camera)
    camera.write_text('{"width": 64, "height": 32, "fx": 50, "fy": 51, "cx": 31.5, "cy": 15.5}')
    assert next(iter(open_source(path))).intrinsics == Intrinsics(64, 32, 50.0, 51.0, 31.5, 15.5)
    camera.write_text('{"width": 32, "height": 64, "fx": 50, "fy": 51, "cx": 15.5, "cy": 31.5}')
    with pytest.raises(DiffsegError, match='camera.json: of 32x64 pixels, and .* has 64x32; give'):
        next(iter(open_source(path)))
    camera.write_text('{"width": 64}')
    with pytest.raises(DiffsegError, match='camera.json: no number for height, fx'):
        open_source(path)


def test_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 40, 200, 240, 1000]
    frames = list(open_source(write_video(tmp_path / 'film.mkv', times=times,
                                          time_base=Fraction(1, 1000))))
    assert [frame.stamp // 1_000_000 for frame in frames] == times


@pytest.mark.parametrize(('rotation', 'corner'), [
    (90, (-4, 4)), (-90, (4, -4)), (180, (-4, -4))])
def test_videos_of_phones_are_upright(tmp_path, rotation, corner):
    frame = next(iter(open_source(write_video(tmp_path / 'film.mp4', rotation=rotation))))
    assert frame.rgb.shape == ((32, 64, 3) if rotation == 180 else (64, 32, 3))
    assert frame.rgb[corner].min() > 200


def test_damaged_part_is_skipped_and_counted(tmp_path):
    path = write_video(tmp_path / 'film.mov', codec='png')
    data = bytearray(path.read_bytes())
    place = [found.start() for found in re.finditer(b'\x89PNG', data)][5]
    data[place:place + 50] = bytes(50)
    path.write_bytes(data)
    source = open_source(path)
    frames = list(source)
    assert 5 < len(frames) < 10 and source.frame_count == 10
    assert 'of 10 frames cannot be read and were skipped; the first: ' in source.warnings[0]


@pytest.mark.parametrize('content', [b'', b'no video at all' * 50])
def test_files_that_are_no_video(tmp_path, content):
    path = tmp_path / 'film.mp4'
    path.write_bytes(content)
    reason = r'film\.mp4: (the video cannot be read|is empty)'
    with pytest.raises(DiffsegError, match=reason) as caught:
        open_source(path)
    assert '\n' not in str(caught.value)


def test_without_pyav_the_line_says_what_to_install(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'film.mp4')
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(DiffsegError, match='pip install av'):
        open_source(path)
