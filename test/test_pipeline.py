import subprocess
import sys

from diffseg_ros.config import PipelineConfig
from diffseg_ros.errors import DiffsegError
from diffseg_ros.pipeline import Pipeline
from diffseg_ros.settings import updated
from diffseg_ros.types import Frame, TargetState, UNLABELLED
import numpy as np
import pytest
import torch


class ColourBackbone:
    """Stands in for a diffusion model: the feature of a token is its colour."""

    name = 'colour'
    device = torch.device('cpu')

    def features(self, rgb):
        small = torch.from_numpy(rgb[::8, ::8].copy()).permute(2, 0, 1).float()
        return small / 255 + 0.01


@pytest.fixture
def pipeline():
    return Pipeline(updated(PipelineConfig(), {'segmentation.cut.position': 0.0}),
                    backbone=ColourBackbone())


def scene(left, stamp=0):
    rgb = np.full((96, 128, 3), (20, 40, 160), np.uint8)
    rgb[32:72, left:left + 40] = (230, 200, 20)
    return Frame(rgb, stamp)


def test_a_moving_object_keeps_its_id(pipeline):
    ids = {int(pipeline.process(scene(left)).labels[50, left + 20])
           for left in range(8, 72, 8)}
    assert len(ids) == 1 and pipeline.track_count == 2


def test_every_stage_is_timed(pipeline):
    latency = pipeline.process(scene(8)).latency_ms
    assert list(latency) == ['features', 'segmentation', 'tracking', 'total']
    assert latency['total'] == pytest.approx(sum(list(latency.values())[:-1]), rel=0.05)


def test_reset_gives_new_ids_and_an_epoch(pipeline):
    first = pipeline.process(scene(8))
    pipeline.reset()
    second = pipeline.process(scene(8))
    assert second.epoch == first.epoch + 1 and second.labels.min() > first.labels.max()


def test_a_photo_by_itself_leaves_tracks_alone(pipeline):
    pipeline.process(scene(8))
    segments = pipeline.segment(scene(80))
    assert segments.labels.max() == 1 and pipeline.track_count == 2


def test_settings_change_between_frames(pipeline):
    assert len(np.unique(pipeline.process(scene(8)).labels)) == 2
    assert not pipeline.process(scene(8)).keyframe
    pipeline.configure(updated(PipelineConfig(), {'segmentation.max_segments': 1,
                                                  'tracking.keyframe_interval': 1,
                                                  'tracking.merge_after': 1}))
    after = [pipeline.process(scene(8 + 8 * number)) for number in range(4)]
    assert all(result.keyframe for result in after)
    assert len(np.unique(after[-1].labels)) == 1


def test_frames_that_show_little_new_are_not_segmented(pipeline):
    results = [pipeline.process(scene(8)) for _ in range(4)]
    assert [result.keyframe for result in results] == [True, False, False, False]
    assert list(results[1].latency_ms) == ['tracking', 'total']
    np.testing.assert_array_equal(results[0].labels, results[-1].labels)


def test_a_result_lists_the_tracks_by_id(pipeline):
    result = pipeline.process(scene(8))
    assert [track.id for track in result.tracks] == np.unique(result.labels).tolist()
    assert sum(track.pixels for track in result.tracks) == result.labels.size


class BrokenOnce(ColourBackbone):
    """Gives NaN for the first photo, as a model in too coarse an arithmetic may."""

    broken = True

    def features(self, rgb):
        broken, self.broken = self.broken, False
        return super().features(rgb) * (float('nan') if broken else 1.0)


def test_a_frame_that_cannot_be_segmented_leaves_no_trace():
    pipeline = Pipeline(backbone=BrokenOnce())
    with pytest.raises(DiffsegError, match='NaN'):
        pipeline.process(scene(8))
    result = pipeline.process(scene(8))
    assert result.keyframe and result.labels.min() == 1


def test_same_frames_same_labels():
    runs = []
    for _ in range(2):
        pipeline = Pipeline(backbone=ColourBackbone())
        runs.append([pipeline.process(scene(left)).labels for left in (8, 16, 24)])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_core_knows_no_ros():
    code = ('import sys, diffseg_ros.pipeline, diffseg_ros.geometry.point_cloud, '
            'diffseg_ros.io.source, diffseg_ros.evaluation.masks; '
            'print([name for name in sys.modules if name.split(".")[0] in '
            '("rclpy", "sensor_msgs") or name.startswith("diffseg_ros.ros")])')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=120, check=True)
    assert done.stdout.strip() == '[]'


def test_an_object_that_was_clicked_on_is_followed(pipeline):
    with pytest.raises(DiffsegError, match='no frame was processed'):
        pipeline.follow((20, 50))
    first = pipeline.process(scene(8))
    assert first.target is None
    target = pipeline.follow((20, 50))
    assert target.ids == (first.labels[50, 20],) and target.state is TargetState.TRACKED
    np.testing.assert_array_equal(target.mask, first.labels == first.labels[50, 20])
    for left in range(16, 72, 8):
        result = pipeline.process(scene(left))
        assert result.target.mask[50, left + 20] and not result.target.mask[50, left - 8]
    later = pipeline.follow((20, 50), first.labels)
    assert later.ids == result.target.ids and later.mask[50, left + 20]
    pipeline.unfollow()
    assert pipeline.process(scene(64)).target is None


@pytest.mark.parametrize(('pixel', 'reason'), [
    ((128, 3), 'outside the image, which has 128x96'), ((3, -1), 'outside the image'),
    ((float('nan'), 3), 'outside the image'), ((3, 3), 'belongs to no segment'),
    ((64, 50), 'is gone by now')])
def test_clicks_on_nothing_are_refused(pipeline, pixel, reason):
    result = pipeline.process(scene(8))
    target = pipeline.follow((20, 50))
    labels = np.where(np.arange(128) < 10, UNLABELLED, np.int32(99))[None].repeat(96, 0)
    with pytest.raises(DiffsegError, match=reason):
        pipeline.follow(pixel, labels)
    after = pipeline.process(scene(8))
    assert after.target.ids == target.ids and (after.labels == result.labels).all()


def test_a_new_epoch_follows_nothing(pipeline):
    pipeline.process(scene(8, 10**9))
    pipeline.follow((20, 50))
    assert pipeline.process(scene(8)).target is None
    pipeline.follow((20, 50))
    pipeline.reset()
    with pytest.raises(DiffsegError, match='no frame was processed'):
        pipeline.follow((20, 50))
