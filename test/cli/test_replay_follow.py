"""diffseg_replay --follow: masks, report and topics of an object that was clicked on."""

import json

from box_recording import FRAMES, label_images
import cv2
from diffseg_ros.io.messages import typestore
import numpy as np
import pytest
from rosbags.highlevel import AnyReader


def test_the_object_is_followed_from_the_frame_of_the_click(run, sequence):
    code, output = run(sequence, 'out', '--follow', '50,50@1')
    assert code == 0
    labels = label_images(output)
    chosen = labels['000001.png'][50, 50]
    masks = {path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
             for path in sorted((output / 'target').iterdir())}
    assert sorted(masks) == [f'{number:06d}.png' for number in range(1, FRAMES)]
    for number, (name, mask) in enumerate(masks.items(), 1):
        np.testing.assert_array_equal(mask, np.where(labels[name] == chosen, 255, 0))
        assert mask[50, 40 + 4 * number] == 255 and mask[50, 10] == 0
    target = json.loads((output / 'report.json').read_text())['target']
    assert target == {'tracked': FRAMES - 1, 'hidden': 0, 'lost': 0, 'ids': [chosen]}
    overlays = [cv2.imread(str(output / 'overlay' / f'{number:06d}.jpg')) for number in (0, 1)]
    yellow = [(picture @ [-2, 1, 1] > 300).sum() for picture in overlays]
    assert yellow[1] > yellow[0] + 100


def test_the_bag_has_the_topics_of_the_target(run, sequence):
    _, output = run(sequence, 'out', '--follow', '50,50@1')
    states, masks, poses, clouds = [], [], [], []
    names = {'state': states, 'mask': masks, 'pose': poses, 'cloud': clouds}
    with AnyReader([output / 'output.mcap'], default_typestore=typestore()) as reader:
        for connection, _, data in reader.messages():
            if connection.topic.startswith('/diffseg/target/'):
                names[connection.topic.rpartition('/')[2]].append(
                    reader.deserialize(data, connection.msgtype))
    assert [state.data for state in states] == ['none'] + ['tracked'] * (FRAMES - 1)
    sizes = [np.count_nonzero(mask.data) for mask in masks]
    assert sizes[0] == 0 and min(sizes[1:]) > 1000
    assert len(poses) == FRAMES - 1 and poses[0].pose.position.z == pytest.approx(1.5, abs=0.05)
    assert [cloud.width for cloud in clouds] == sizes


def test_a_second_click_adds_a_part(run, sequence):
    _, output = run(sequence, 'out', '--no-bag', '--follow', '50,50@0', '--follow', '10,80@2')
    sizes = [np.count_nonzero(cv2.imread(str(path))) for path in sorted(
        (output / 'target').iterdir())]
    assert max(sizes[:2]) < 0.7 * min(sizes[2:])
    assert len(json.loads((output / 'report.json').read_text())['target']['ids']) == 2


@pytest.mark.parametrize(('click', 'reason'), [
    ('50,50', 'such as 320,240@0'), ('a,b@c', 'such as 320,240@0'), ('-1,5@0', 'such as'),
    ('50,50@1', 'frame 1 is not processed; choose one from 0 to 4 by --every 2'),
    ('50,50@6', 'frame 6 is not processed'),
    ('500,50@2', 'is outside the image, which has 128x96')])
def test_a_wrong_click_ends_with_one_line(run, sequence, capsys, click, reason):
    code, output = run(sequence, 'out', '--every', '2', f'--follow={click}')
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith(f'diffseg_replay: --follow {click}: ') and reason in lines[0]
    assert not (output / 'report.json').exists()


def test_a_click_on_a_frame_that_cannot_be_read_ends_with_one_line(run, sequence, capsys):
    (sequence / 'rgb' / '000002.png').write_bytes(b'not an image')
    code, _ = run(sequence, 'out', '--follow', '50,50@2')
    assert code == 2
    assert '--follow 50,50@2: the frame could not be processed' in capsys.readouterr().err


def test_nothing_is_written_of_a_target_without_a_click(run, sequence):
    _, output = run(sequence)
    assert not list((output / 'target').iterdir())
    assert 'target' not in json.loads((output / 'report.json').read_text())
