from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.mapping.odometry import RgbdOdometry
from diffseg_ros.types import Frame
import numpy as np
import pytest


def off_by(found, wanted):
    error = np.linalg.inv(wanted) @ found
    return (np.linalg.norm(error[:3, 3]),
            np.degrees(np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))))


@pytest.mark.parametrize(('name', 'metres', 'degrees'), [
    ('redkitchen', 0.05, 2), ('tum_fr1_rpy', 0.15, 10)])
def test_real_recordings_stay_near_their_recorded_poses(real_sequences, name, metres, degrees):
    odometry = RgbdOdometry()
    source = SequenceFolder(real_sequences / name)
    first = source.read(0).frame.pose
    for number in range(8):
        frame = source.read(number).frame
        distance, angle = off_by(odometry.pose(frame), np.linalg.inv(first) @ frame.pose)
        assert distance < metres and angle < degrees


def test_frames_that_show_nothing_in_common_are_lost(real_sequences):
    source = SequenceFolder(real_sequences / 'redkitchen')
    frame = source.read(0).frame
    odometry = RgbdOdometry()
    np.testing.assert_array_equal(odometry.pose(frame), np.eye(4))
    blank = Frame(frame.rgb, depth=np.full_like(frame.depth, np.nan),
                  intrinsics=frame.intrinsics)
    assert odometry.pose(blank) is None
    again = source.read(1).frame
    distance, _ = off_by(odometry.pose(again), np.linalg.inv(frame.pose) @ again.pose)
    assert distance < 0.05


def test_missing_depth_is_named():
    with pytest.raises(DiffsegError, match='no depth'):
        RgbdOdometry().pose(Frame(np.zeros((20, 20, 3), np.uint8)))
