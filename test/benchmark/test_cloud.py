from diffseg_ros.benchmark.cloud import cloud_benchmark, plain_points, scene
from diffseg_ros.geometry.packed import pack_points
import numpy as np


def test_the_plain_way_gives_the_same_points():
    frame, labels = scene(160, 120)
    assert len(np.unique(labels)) == 50 and np.isnan(frame.depth).mean() > 0.05
    words = pack_points(frame, labels, lambda ids: ids + 3)
    plain = plain_points(frame, labels + 3).view(np.uint32).reshape(120, 160, 6)
    valid = np.isfinite(frame.depth)
    np.testing.assert_allclose(words[valid][:, :3].view(np.float32),
                               plain[valid][:, :3].view(np.float32), rtol=2e-6, atol=1e-6)
    # Open3D gives no colour where there is no depth.
    np.testing.assert_array_equal(words[valid][:, 3], plain[valid][:, 3])
    np.testing.assert_array_equal(words[..., 4:], plain[..., 4:])


def test_times_are_reported_by_size():
    report = cloud_benchmark([(160, 120)], repetitions=3)
    times = report['160x120']
    assert 0 < times['min'] <= times['p50'] <= times['p95']
    assert times['ratio'] == times['plain_p50'] / times['p50']
