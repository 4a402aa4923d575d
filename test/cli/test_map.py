import json

from box_recording import write_sequence
import cv2
from diffseg_ros.cli.convert import main as convert
from diffseg_ros.cli.map import main as build_map
from diffseg_ros.geometry.transforms import pose_from_quaternion, quaternion_from_pose
from diffseg_ros.io.ply import read_ply
from diffseg_ros.mapping.builder import MapBuilder
from diffseg_ros.types import Intrinsics
import numpy as np
import pytest

CAMERA = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
COLOURS = np.array([(200, 190, 170), (30, 60, 200), (210, 40, 30), (90, 90, 90)], np.uint8)
BOXES = [((0, 0, 3.05), (8, 8, 0.1), np.eye(3)), ((-0.5, 0.2, 2.5), (0.5, 0.6, 0.4), np.eye(3)),
         ((0.6, -0.1, 2.6), (0.4, 0.4, 0.4), np.eye(3))]
FRAMES = 4


@pytest.fixture
def posed(tmp_path, see_boxes):
    """Return a sequence folder of two boxes before a wall, seen from a camera that moves."""
    folder = tmp_path / 'posed'
    for part in ('rgb', 'depth'):
        (folder / part).mkdir(parents=True)
    lines = []
    rng = np.random.default_rng(0)
    texture = rng.integers(-25, 25, (120, 160, 1))
    for number in range(FRAMES):
        pose = pose_from_quaternion((0.04 * number, 0, 0), (0, 0.008 * number, 0, 1))
        depth, labels = see_boxes(BOXES, pose, CAMERA)
        rgb = np.clip(COLOURS[labels] + texture, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f'rgb/{number:06d}.png'), rgb[..., ::-1])
        cv2.imwrite(str(folder / f'depth/{number:06d}.png'),
                    np.rint(np.nan_to_num(depth) * 1000).astype(np.uint16))
        values = (*pose[:3, 3], *quaternion_from_pose(pose))
        lines.append(' '.join(f'{value:.9f}' for value in values))
    (folder / 'poses.txt').write_text('\n'.join(lines) + '\n')
    (folder / 'times.txt').write_text(''.join(f'{5 + number / 10}\n' for number in range(FRAMES)))
    (folder / 'camera.json').write_text(json.dumps({
        'width': 160, 'height': 120, 'fx': 150.0, 'fy': 150.0, 'cx': 79.5, 'cy': 59.5,
        'depth_scale': 1000}))
    return folder


@pytest.fixture
def run(weights, tmp_path):
    def call(source, *options, name='map.ply'):
        output = tmp_path / 'out' / name
        code = build_map([str(source), '--output', str(output), '--json',
                          str(tmp_path / 'report.json'), '--set', f'backbone.model={weights}',
                          *options])
        return code, output
    return call


def test_map_of_a_known_scene(run, posed, tmp_path):
    import open3d
    code, output = run(posed)
    assert code == 0
    cloud = read_ply(output)
    # Points lie where the boxes' fronts and the wall are, to the depth's millimetre.
    faces = np.abs(cloud.points[:, 2:] - [2.3, 2.4, 3.0]).min(axis=1)
    assert (faces < 0.003).mean() > 0.9
    assert {6, 7} < set(np.round(cloud.points[:, 2] * 2.5).astype(int).tolist())
    theirs = open3d.t.io.read_point_cloud(str(output))
    confidence = theirs.point['confidence'].numpy()[:, 0]
    np.testing.assert_array_equal(theirs.point.positions.numpy(), cloud.points)
    np.testing.assert_array_equal(theirs.point['label'].numpy()[:, 0], cloud.labels)
    assert ((confidence > 0) == (cloud.labels >= 0)).all() and confidence.max() <= 1

    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['frames'] == FRAMES and report['frames_failed'] == 0
    assert report['points'] == len(cloud.labels) <= report['voxels']
    assert report['labels'] == len(np.unique(cloud.labels[cloud.labels >= 0]))
    assert 0 < report['voxel_agreement'] <= 1
    assert report['confidence'] == pytest.approx(confidence.mean())
    picture = cv2.imread(str(output.with_suffix('.png')))
    assert picture.shape == (600, 1600, 3)
    photo, labels = picture[:, :800], picture[:, 800:]
    drawn = (photo != photo[0, 0]).any(axis=-1)
    assert 0.1 < drawn.mean() and (photo != labels)[drawn].any()


def test_objects_of_the_map_become_meshes(run, posed, tmp_path, capsys):
    import open3d

    def complete(number):
        code, output = run(posed, '--every', '2', '--complete', str(number))
        files = [path.name for path in output.parent.glob('*.object_*')]
        report, = json.loads((tmp_path / 'report.json').read_text())['objects']
        return code, output, files, report

    code, output, files, report = complete(999)
    cloud, before = read_ply(output), output.read_bytes()
    front = (np.abs(cloud.points - [-0.5, 0.2, 2.3]) < [0.2, 0.2, 0.01]).all(axis=1)
    box = int(np.bincount(cloud.labels[front & (cloud.labels >= 0)]).argmax())
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and files == [] and report['id'] == 999 and 'in no frame' in report['error']
    assert 'no such id in the map' in error and str(box) in error

    code, _, files, report = complete(box)
    assert code == 0 and output.read_bytes() == before and files == [f'map.object_{box}.ply']
    mesh = open3d.io.read_triangle_mesh(str(output.with_name(files[0])))
    assert report['id'] == box and report['views'] == FRAMES // 2
    assert report['vertices'] == len(mesh.vertices) > 100
    assert {'residual', 'completed_share', 'extents', 'planes'} <= set(report)
    assert f'object {box}: {FRAMES // 2} views' in capsys.readouterr().out

    own = output.with_name('map.object_0.ply')
    own.write_text('of the user')
    assert run(posed, '--every', '2')[0] == 0
    assert list(output.parent.glob('*.object_*')) == [own]  # the other was of the map before


@pytest.mark.parametrize('number', ['-1', 'mug', '1.5'])
def test_id_that_is_no_number_is_named(run, posed, capsys, number):
    with pytest.raises(SystemExit):
        run(posed, f'--complete={number}')
    assert 'an id of the map is needed' in capsys.readouterr().err


def test_bag_and_folder_give_the_same_map(run, posed, tmp_path):
    assert convert([str(posed), str(tmp_path / 'posed.mcap')]) == 0
    _, folder_map = run(posed)
    code, bag_map = run(tmp_path / 'posed.mcap', name='bag.ply')
    assert code == 0
    one, other = read_ply(folder_map), read_ply(bag_map)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.points, other.points, atol=1e-5)


def test_odometry_replaces_poses(run, posed, tmp_path):
    _, output = run(posed)
    wanted = read_ply(output).points
    (posed / 'poses.txt').unlink()
    code, output = run(posed, '--odometry')
    assert code == 0
    found = read_ply(output).points
    np.testing.assert_allclose(found.min(axis=0), wanted.min(axis=0), atol=0.06)
    np.testing.assert_allclose(found.max(axis=0), wanted.max(axis=0), atol=0.06)


def test_options_choose_frames_depth_and_voxels(run, posed, tmp_path):
    def report(*options):
        assert run(posed, *options)[0] == 0
        return json.loads((tmp_path / 'report.json').read_text())

    assert report('--every', '2')['frames'] == 2
    assert report('--limit', '3')['frames'] == 3
    coarse = report('--voxel-size', '0.1')
    assert coarse['voxel_size'] == 0.1 and coarse['points'] < report()['points'] / 10
    for options in (('--max-depth', '2.8'), ('--set', 'cloud.max_depth=2.8')):
        report(*options)
        assert read_ply(tmp_path / 'out' / 'map.ply').points[:, 2].max() < 2.81


def test_frames_without_pose_are_counted_and_left_out(run, posed, tmp_path):
    lines = (posed / 'poses.txt').read_text().splitlines()
    lines[0] = lines[2] = ' '.join(['nan'] * 7)
    (posed / 'poses.txt').write_text('\n'.join(lines))
    (posed / 'rgb' / '000003.png').write_bytes(b'no image')
    code, output = run(posed, '--min-observations', '1')
    report = json.loads((tmp_path / 'report.json').read_text())
    assert code == 0 and len(read_ply(output).labels) == report['points'] > 0
    assert (report['frames'], report['frames_without_pose'], report['frames_failed']) == (1, 2, 1)


@pytest.mark.parametrize(('missing', 'words'), [
    ('poses.txt', ['no frame has a pose', 'poses.txt', '/tf', '--odometry']),
    ('camera.json', ['no frame has depth and intrinsics', 'camera.json'])])
def test_what_a_source_lacks_is_named(run, posed, capsys, missing, words):
    (posed / missing).unlink()
    code, output = run(posed)
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and not output.exists()
    assert all(word in error for word in words), error


def test_sequence_with_neither_is_told_of_depth(run, tmp_path, capsys):
    code, _ = run(write_sequence(tmp_path / 'flat', depth=False))
    assert code == 2 and 'no frame has depth' in capsys.readouterr().err


@pytest.mark.parametrize(('options', 'word'), [
    (('--limit', '1'), 'lower --min-observations'), (('--voxel-size', '0'), 'a size above 0'),
    (('--min-observations', '0'), '1 or more'), (('--max-depth', '-1'), 'max_depth')])
def test_unusable_options_are_named(run, posed, capsys, options, word):
    assert run(posed, *options)[0] == 2
    assert word in capsys.readouterr().err


@pytest.mark.parametrize('place', ['/proc/nowhere', 'file/below'])
def test_place_that_cannot_be_written_is_refused_before_the_work(posed, tmp_path, capsys,
                                                                 monkeypatch, place):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(MapBuilder, 'add', None)
    assert build_map([str(posed), '--output', str(tmp_path / place / 'map.ply')]) == 2
    line, = capsys.readouterr().err.strip().splitlines()
    assert 'cannot be made a folder' in line and place in line


def test_map_stays_where_the_next_run_fails(run, posed):
    _, output = run(posed)
    before = output.read_bytes()
    (posed / 'poses.txt').unlink()
    assert run(posed)[0] == 2
    assert output.read_bytes() == before
    assert run(posed, '--odometry')[0] == 0
    assert output.read_bytes() != before


@pytest.mark.parametrize('name', ['map.pcd', 'map'])
def test_output_must_be_a_ply_file(run, posed, capsys, name):
    assert run(posed, name=name)[0] == 2
    assert '.ply file' in capsys.readouterr().err
