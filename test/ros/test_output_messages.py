"""Messages of the outputs hold what the result holds, bit for bit."""

from __future__ import annotations

from dataclasses import replace
import sys
from types import SimpleNamespace

import cv2
from diffseg_ros.config import CloudConfig, NodeConfig, PipelineConfig, RemovalConfig
from diffseg_ros.depth.base import DepthSettings
from diffseg_ros.geometry.boxes import SegmentBox
from diffseg_ros.io.calibration import intrinsics_from_camera_info
from diffseg_ros.io.messages import decode_colour, decode_depth
from diffseg_ros.naming.base import NamingSettings
from diffseg_ros.postprocessing.label_encoding import LabelEncoder
from diffseg_ros.postprocessing.output_context import OutputContext
from diffseg_ros.settings import updated
from diffseg_ros.types import (
    Frame,
    Intrinsics,
    Result,
    SegmentKind,
    Target,
    TargetState,
    Track,
    TrackState,
)
from diffseg_ros.viz.colours import label_colours, label_palette
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.ros.counters import Counters  # noqa: E402
from diffseg_ros.ros.frame_converter import depth_encoding  # noqa: E402
from diffseg_ros.ros.messages import image_message, make_header, message_class, vector  # noqa: E402
from diffseg_ros.ros.outputs import available_outputs, create_message  # noqa: E402
from diffseg_ros.ros.outputs.detections import label_info  # noqa: E402
from diffseg_ros.ros.processor import FrameProcessor  # noqa: E402
from diffseg_ros.ros.publishers import OutputPublishers  # noqa: E402
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402
import semantic_stand_in  # noqa: E402
from std_msgs.msg import String  # noqa: E402
import vision_stand_in  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

STAMP = 1_700_000_000_123_456_789
HEIGHT, WIDTH = 48, 64
OF_NAMING = {'features', 'found/markers', 'found/mask', 'found/ranking'}
OF_MODELS = OF_NAMING | {'depth'}
TARGET, TARGET_ID = np.s_[16:40, 24:56], 3


def context(depth: bool = True, intrinsics: bool = True, *, encoder: LabelEncoder | None = None,
            config: PipelineConfig | None = None, **options: object) -> OutputContext:
    random = np.random.default_rng(0)
    metres = random.uniform(0.5, 4, (HEIGHT, WIDTH)).astype(np.float32)
    metres[TARGET] = 1.0
    metres[::5, ::7] = np.nan
    frame = Frame(
        random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), STAMP, 'optical',
        metres if depth else None,
        Intrinsics(WIDTH, HEIGHT, 60.0, 61.0, 31.5, 23.5, (0.1, 0, 0, 0, 0)) if intrinsics
        else None)
    labels = random.integers(-1, 9, (HEIGHT, WIDTH)).astype(np.int32)
    labels[labels == 0] = 9
    labels[TARGET] = TARGET_ID
    target = Target(TargetState.TRACKED, (TARGET_ID,), labels == TARGET_ID)
    confidence = random.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    return OutputContext(Result(frame, labels, confidence, 0, target=target),
                         encoder or LabelEncoder(), config or PipelineConfig(), **options)


def messages(given: OutputContext) -> dict[str, object]:
    """Return the messages of all outputs that the frame has data for."""
    made = {name: create_message(entry, given) for name, entry in available_outputs().items()}
    return {name: message for name, message in made.items() if message is not None}


def message(given: OutputContext, name: str):
    return create_message(available_outputs()[name], given)


@pytest.fixture
def vision(monkeypatch):
    """Put a stand-in with the fields of vision_msgs in its place where it is not installed."""
    if message_class('vision_msgs/msg/LabelInfo') is None:
        monkeypatch.setitem(sys.modules, 'vision_msgs', vision_stand_in)
        monkeypatch.setitem(sys.modules, 'vision_msgs.msg', vision_stand_in.MODULE)


def points_of(message) -> np.ndarray:
    dtype = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'),
                      ('label', '<u4'), ('instance_id', '<u4')])
    assert message.point_step == dtype.itemsize
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def headers(message) -> list:
    """Return the header of a message, or of every marker in it; a state has none."""
    if isinstance(message, String):
        return []
    return ([message.header] if hasattr(message, 'header')
            else [marker.header for marker in message.markers])


def test_every_output_has_the_stamp_and_frame_of_its_image(vision):
    made = messages(context())
    assert set(made) == set(available_outputs()) - OF_MODELS
    for name, output in made.items():
        assert isinstance(output, message_class(available_outputs()[name].facts['message']))
        for header in headers(output):
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == STAMP, name
            assert header.frame_id == 'optical', name


@pytest.mark.parametrize(('depth', 'intrinsics', 'missing'), [
    (False, True, {'depth_filtered'}), (True, False, {'camera_info'})])
def test_nothing_is_made_that_would_mean_no_data(vision, depth, intrinsics, missing):
    made = messages(context(depth, intrinsics))
    missing |= {'points', 'markers', 'detections_3d', 'objects', 'objects/labels', 'target/pose',
                'target/cloud', *OF_MODELS}
    assert set(made) == set(available_outputs()) - missing


def test_the_target_has_a_mask_a_cloud_a_pose_and_a_state():
    given = context()
    truth = given.labels == TARGET_ID
    mask = message(given, 'target/mask')
    assert np.array_equal(np.frombuffer(mask.data, np.uint8), 255 * truth.ravel())
    cloud = message(given, 'target/cloud')
    valid = truth & np.isfinite(given.frame.depth)
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, np.count_nonzero(valid), True)
    assert np.array_equal(points_of(cloud), points_of(message(given, 'points'))[valid][None])
    assert message(given, 'target/pose').pose.position.z == pytest.approx(1.0)
    assert message(given, 'target/state').data == 'tracked'
    shown = [marker for marker in message(given, 'markers').markers if marker.ns == 'target']
    assert [marker.type for marker in shown] == [Marker.LINE_LIST, Marker.TEXT_VIEW_FACING]
    ends = np.array([[end.x, end.y, end.z] for end in shown[0].points]).reshape(12, 2, 3)
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    assert sorted(lengths) == pytest.approx(sorted([*given.target_box.size] * 4))
    given.result = replace(given.result, target=None)
    assert message(given, 'target/state').data == 'none'


def test_what_is_not_in_view_has_an_empty_mask_and_cloud_and_no_pose():
    given = context()
    given.result = replace(given.result, target=Target(
        TargetState.HIDDEN, (TARGET_ID,), np.zeros((HEIGHT, WIDTH), bool), 3))
    assert not any(message(given, 'target/mask').data)
    assert message(given, 'target/cloud').width == 0 and message(given, 'target/pose') is None
    assert message(given, 'target/state').data == 'hidden'
    assert 'target' not in {marker.ns for marker in message(given, 'markers').markers}


def test_what_goes_by_size_is_not_made_without_sizes():
    config = PipelineConfig(removal=RemovalConfig(max_size=2.0))
    without = messages(context(intrinsics=False, config=config))
    assert not {'mask', 'depth_filtered'} & set(without)
    assert {'mask', 'depth_filtered'} <= set(messages(context(config=config)))


@pytest.mark.parametrize(('encoding', 'dtype', 'unlabelled'), [
    ('16UC1', '<u2', 65535), ('mono8', 'u1', 255), ('32SC1', '<i4', -1)])
def test_cloud_and_label_image_carry_the_same_values(encoding, dtype, unlabelled):
    given = context(encoder=LabelEncoder(encoding))
    image, cloud = message(given, 'labels'), points_of(message(given, 'points'))
    values = np.frombuffer(image.data, dtype).reshape(image.height, image.width)
    assert (image.encoding, image.step) == (encoding, WIDTH * np.dtype(dtype).itemsize)
    assert np.array_equal(values == unlabelled, given.labels == -1)
    assert np.array_equal(values.astype(np.int64) % 2**32, cloud['label'])
    assert np.array_equal(cloud['label'], cloud['instance_id'])


def test_cloud_is_organised_with_nan_holes_and_the_image_s_colours():
    given = context()
    output = message(given, 'points')
    cloud = points_of(output)
    assert (output.height, output.width, output.is_dense) == (HEIGHT, WIDTH, False)
    assert output.row_step == WIDTH * output.point_step
    assert [field.name for field in output.fields] == list(cloud.dtype.names)
    holes = np.isnan(given.frame.depth)
    for axis in 'xyz':
        assert np.array_equal(np.isnan(cloud[axis]), holes)
    assert np.array_equal(cloud['z'][~holes], given.frame.depth[~holes])
    red, green, blue = (given.frame.rgb[..., channel].astype(np.uint32) for channel in range(3))
    assert np.array_equal(cloud['rgb'], red << 16 | green << 8 | blue)


@pytest.mark.parametrize('encoding', ['16UC1', 'mono8'])
def test_compressed_labels_are_the_labels(encoding):
    given = context(encoder=LabelEncoder(encoding))
    compressed, raw = message(given, 'labels/compressed'), message(given, 'labels')
    assert compressed.format == f'{encoding}; png compressed '
    pixels = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.tobytes() == raw.data.tobytes()


def test_32_bit_labels_are_not_compressed():
    assert message(context(encoder=LabelEncoder('32SC1')), 'labels/compressed') is None


def predicted(**depth: object) -> OutputContext:
    """Return a context whose depth was predicted in its right half."""
    given = context()
    confidence = np.ones((HEIGHT, WIDTH), np.float32)
    confidence[:, WIDTH // 2:] = 0.5
    frame = replace(given.frame, depth_confidence=confidence)
    config = PipelineConfig(depth=DepthSettings(model='it', **depth),
                            cloud=CloudConfig(organised=False))
    return OutputContext(replace(given.result, frame=frame), LabelEncoder(), config)


def test_predicted_points_and_depth_are_marked():
    given = predicted()
    valid = np.isfinite(given.frame.depth)
    cloud = message(given, 'points')
    assert [field.name for field in cloud.fields][6:] == ['confidence'] and cloud.point_step == 28
    words = np.frombuffer(cloud.data, '<f4').reshape(-1, 7)
    assert np.array_equal(words[:, 2], given.frame.depth[valid])
    assert np.array_equal(words[:, 6], given.frame.depth_confidence[valid])
    whole = OutputContext(given.result, LabelEncoder(), updated(
        given.config, {'cloud.organised': True}))
    words = np.frombuffer(message(whole, 'points').data, '<f4').reshape(HEIGHT, WIDTH, 7)
    assert np.array_equal(words[..., 6], given.frame.depth_confidence)
    assert message(given, 'target/cloud').point_step == 28
    depth = message(given, 'depth')
    assert depth.encoding == '32FC1'
    assert np.array_equal(decode_depth(depth), given.frame.depth, equal_nan=True)


def test_predicted_points_are_left_out_on_request_but_stay_in_depth():
    given = predicted(in_points=False)
    words = np.frombuffer(message(given, 'points').data, '<f4').reshape(-1, 7)
    valid = np.isfinite(given.result.frame.depth)
    valid[:, WIDTH // 2:] = False
    assert len(words) == valid.sum() and (words[:, 6] == 1).all()
    filtered = decode_depth(message(given, 'depth_filtered'))
    assert np.array_equal(np.isfinite(filtered), valid)
    depth = decode_depth(message(given, 'depth'))
    assert np.array_equal(depth, given.result.frame.depth, equal_nan=True)


def test_removed_segments_leave_depth_and_points_and_make_the_mask():
    given = context(config=PipelineConfig(
        removal=RemovalConfig(ids=(3, 5, 99), from_points=True)))
    given.frame.depth[:, ::9] = 70.0
    made = messages(given)
    chosen = np.isin(given.labels, [3, 5])
    wanted = np.where(chosen, np.nan, given.frame.depth)
    assert made['depth_filtered'].encoding == '32FC1'
    assert np.array_equal(decode_depth(made['depth_filtered']), wanted, equal_nan=True)
    assert np.array_equal(points_of(made['points'])['z'], wanted, equal_nan=True)
    mask = np.frombuffer(made['mask'].data, np.uint8).reshape(HEIGHT, WIDTH)
    assert made['mask'].encoding == 'mono8'
    assert np.array_equal(mask, np.where(chosen, 255, 0))


def test_points_keep_removed_segments_unless_told_otherwise():
    given = context(config=PipelineConfig(removal=RemovalConfig(ids=(3,))))
    z = points_of(message(given, 'points'))['z']
    assert np.array_equal(z, given.frame.depth, equal_nan=True)


def test_dense_cloud_has_the_valid_points_only():
    given = context(config=PipelineConfig(cloud=CloudConfig(organised=False)))
    output = message(given, 'points')
    valid = np.isfinite(given.frame.depth)
    assert (output.height, output.width, output.is_dense) == (1, valid.sum(), True)
    cloud = points_of(output)[0]
    assert np.array_equal(cloud['z'], given.frame.depth[valid])
    assert np.array_equal(cloud['label'], given.labels[valid].astype(np.uint16))


@pytest.mark.parametrize(('encoding', 'unlabelled'), [('16UC1', -1), ('mono8', 0), ('32SC1', -1)])
def test_points_can_take_the_colour_of_their_label(encoding, unlabelled):
    given = context(encoder=LabelEncoder(encoding, unlabelled), points_colour='label')
    cloud = points_of(message(given, 'points'))
    none = given.labels == -1
    assert (cloud['rgb'][none] == 0xFFFFFF).all()
    red, green, blue = (label_palette()[cloud['label'][~none]].astype(np.uint32)).T
    assert np.array_equal(cloud['rgb'][~none] & 0xFFFFFF, red << 16 | green << 8 | blue)


def test_memory_of_a_published_cloud_is_used_again():
    reusable: dict = {}
    memory = message(context(reusable=reusable), 'points').data
    assert message(context(reusable=reusable), 'points').data is memory


def test_camera_info_is_that_of_the_label_image():
    given = context()
    assert intrinsics_from_camera_info(message(given, 'camera_info')) == given.frame.intrinsics


def test_image_message_reads_back():
    pixels = context().frame.rgb[:, ::-1]
    assert np.array_equal(decode_colour(image_message(pixels, 'rgb8', make_header(1))), pixels)

@pytest.mark.parametrize(('given', 'encoding'), [
    (None, '32FC1'), (SimpleNamespace(encoding='16UC1'), '16UC1'),
    (SimpleNamespace(encoding='mono16'), '16UC1'), (SimpleNamespace(encoding='32FC1'), '32FC1'),
    (SimpleNamespace(format='16UC1; compressedDepth png'), '16UC1'),
    (SimpleNamespace(format='32FC1; compressedDepth'), '32FC1')])
def test_depth_goes_out_as_it_came(given, encoding):
    assert depth_encoding(given) == encoding


def with_boxes(*boxes: SegmentBox) -> OutputContext:
    """Return two segments in the image, and these boxes in space."""
    given = context()
    labels, confidence = given.labels, given.result.confidence
    labels[:] = -1
    labels[2:10, 4:9] = labels[15, 25] = 7
    labels[10:20, 0:3] = 70000
    confidence[:] = np.where(labels == 7, 51, 255)
    confidence[15, 25] = 92
    given.boxes = list(boxes)
    given.target_box = None
    return given


def box(identity: int, size: tuple[float, float, float] = (0.4, 0.2, 0.1)) -> SegmentBox:
    rotation = Rotation.from_euler('xyz', [20, 40, 60], degrees=True).as_matrix()
    return SegmentBox(identity, np.array([0.1, 0.2, 2.0]), np.array([0.15, 0.25, 2.05]),
                      np.array(size), rotation, 500)


def test_old_boxes_are_deleted_before_the_new_ones_come():
    for boxes in ([], [box(3), box(9)]):
        first, *others = message(with_boxes(*boxes), 'markers').markers
        assert first.action == Marker.DELETEALL
        assert len(others) == 2 * len(boxes)
        assert {marker.action for marker in others} <= {Marker.ADD}


def test_cube_fills_the_box_and_text_names_it():
    given = box(70000)
    _, cube, text = message(with_boxes(given), 'markers').markers
    assert (cube.type, text.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
    assert cube.id == text.id == 70000 and text.text == '70000'
    assert (cube.ns, cube.id) != (text.ns, text.id)
    position, turn = cube.pose.position, cube.pose.orientation
    assert np.allclose([position.x, position.y, position.z], given.centre)
    assert np.allclose(Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix(),
                       given.rotation)
    assert np.allclose([cube.scale.x, cube.scale.y, cube.scale.z], given.size)
    assert text.pose.position.y < given.corners[:, 1].min() and text.scale.z > 0
    red, green, blue = label_colours(np.array([70000]))[0] / 255
    assert np.allclose([cube.color.r, cube.color.g, cube.color.b], [red, green, blue])
    assert 0 < cube.color.a < 1 and text.color.a == 1
    for marker in (cube, text):
        assert 0 < marker.lifetime.sec + marker.lifetime.nanosec / 1e9 < 10


def test_a_moving_segment_has_its_speed_and_an_arrow():
    made = box(7), box(9)
    given = with_boxes(*made)
    given.moving = {7: Track(7, TrackState.CONFIRMED, 5, 0, 60, True, 0.0, (0.3, 0.0, -0.4))}
    _, *others = message(given, 'markers').markers
    assert [(item.id, item.text) for item in others if item.type == Marker.TEXT_VIEW_FACING] == [
        (7, '7: 0.5 m/s'), (9, '9')]
    arrow, = (item for item in others if item.type == Marker.ARROW)
    start, end = ([place.x, place.y, place.z] for place in arrow.points)
    assert np.allclose(start, made[0].centre)
    assert np.allclose(np.subtract(end, start), [0.3, 0.0, -0.4])
    assert arrow.id == 7 and arrow.scale.x > 0 and arrow.color.a == 1
    given = with_boxes(*made)
    given.moving = {7: Track(7, TrackState.CONFIRMED, 5, 0, 60, True, 0.0)}
    assert len(message(given, 'markers').markers) == 5


def test_a_moving_segment_is_detected_as_one(vision):
    given = with_boxes(box(7), box(70000))
    given.moving = {7: Track(7, TrackState.CONFIRMED, 5, 0, 60, True, 0.0, (0.3, 0.0, -0.4))}
    for name in ('detections', 'detections_3d'):
        moving, still = message(given, name).detections
        assert [item.hypothesis.class_id for item in moving.results] == ['segment', 'moving']
        assert [item.hypothesis.class_id for item in still.results] == ['segment']
    assert moving.results[1].pose.pose == moving.bbox.center


def test_surfaces_are_named_and_objects_come_by_themselves(vision):
    given = with_boxes(box(7), box(70000))
    tracks = (Track(7, TrackState.CONFIRMED, 5, 0, 60, kind=SegmentKind.OBJECT),
              Track(70000, TrackState.CONFIRMED, 5, 0, 60, kind=SegmentKind.TABLE))
    given.result = replace(given.result, tracks=tracks)
    for name in ('detections', 'detections_3d'):
        thing, table = message(given, name).detections
        assert [item.hypothesis.class_id for item in thing.results] == ['segment', 'object']
        assert [item.hypothesis.class_id for item in table.results] == ['segment', 'table']
    texts = [marker.text for marker in message(given, 'markers').markers if marker.text]
    assert texts == ['7', '70000 table']
    only, = message(given, 'objects').detections
    assert (only.id, only.bbox.size) == ('7', vector(box(7).size.tolist()))
    image, whole = message(given, 'objects/labels'), message(given, 'labels')
    assert (image.encoding, image.header) == (whole.encoding, whole.header)
    values, others = (np.frombuffer(one.data, '<u2') for one in (image, whole))
    of_the_thing = given.labels.ravel() == 7
    assert np.array_equal(values, np.where(of_the_thing, others, 65535)) and of_the_thing.any()


def test_what_moves_is_an_object_whatever_its_shape():
    given = with_boxes(box(7), box(70000))
    given.result = replace(given.result, tracks=(
        Track(7, TrackState.CONFIRMED, 5, 0, 60, True, 0.0, kind=SegmentKind.WALL),))
    assert given.objects == [7]


def test_flat_segments_have_a_thickness_that_rviz_draws():
    _, cube, _ = message(with_boxes(box(1, (0.5, 0.5, 0.0))), 'markers').markers
    assert cube.scale.z > 0


def test_detections_in_the_image(vision):
    first, second = message(with_boxes(), 'detections').detections
    assert (first.id, second.id) == ('7', '70000')
    for found, centre, size in ((first, (14.5, 8.5), (22, 14)), (second, (1, 14.5), (3, 10))):
        position = found.bbox.center.position
        assert (position.x, position.y, found.bbox.center.theta) == (*centre, 0.0)
        assert (found.bbox.size_x, found.bbox.size_y) == size
        assert found.header == make_header(STAMP, 'optical')
        assert found.results[0].hypothesis.class_id == 'segment'
    assert np.isclose(first.results[0].hypothesis.score, (40 * 51 + 92) / 41 / 255)
    assert second.results[0].hypothesis.score == 1.0


def test_detections_in_space(vision):
    given = box(7)
    found, = message(with_boxes(given), 'detections_3d').detections
    centre, size = found.bbox.center, found.bbox.size
    assert (found.id, found.results[0].hypothesis.class_id) == ('7', 'segment')
    assert [centre.position.x, centre.position.y, centre.position.z] == given.centre.tolist()
    turn = centre.orientation
    assert np.allclose(Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix(),
                       given.rotation)
    assert [size.x, size.y, size.z] == given.size.tolist()
    assert found.results[0].pose.pose == centre


def test_label_info_calls_every_segment_a_segment(vision):
    info = label_info(make_header(STAMP))
    assert [(item.class_id, item.class_name) for item in info.class_map] == [(0, 'segment')]
    assert info.header == make_header(STAMP) and info.threshold == 0.0


WORDS = """
- {name: chair, colour: [10, 200, 30]}
- {name: sofa, synonyms: [couch], id: 7}
- {name: person, remove: true, colour: [255, 0, 0]}
"""


def with_names(tmp_path, *boxes: SegmentBox, encoder: LabelEncoder | None = None,
               **removal: object) -> OutputContext:
    """Return segments 7, a chair, and 70000, of which naming is not sure, and a lost person."""
    file = tmp_path / 'words.yaml'
    file.write_text(WORDS)
    config = PipelineConfig(naming=NamingSettings(model='imagenet', vocabulary=(str(file),)),
                            removal=RemovalConfig(**removal))
    tracks = (
        Track(7, TrackState.CONFIRMED, 5, 0, 60, name='chair', name_score=0.75,
              embedding=np.array([1, -2, 0.5], np.float32)),
        Track(70000, TrackState.CONFIRMED, 5, 0, 60, kind=SegmentKind.TABLE, name='unknown',
              name_score=0.4, embedding=np.array([0, 3, 0.25], np.float32)),
        Track(9, TrackState.LOST, 5, 3, 0, name='person', name_score=0.9,
              embedding=np.ones(3, np.float32)))
    given = with_boxes(*boxes)
    result = replace(given.result, tracks=tracks, target=None)
    given = OutputContext(result, encoder or LabelEncoder('32SC1'), config, points_colour='label')
    given.boxes = list(boxes)
    return given


def test_the_first_result_is_the_name(vision, tmp_path):
    given = with_names(tmp_path, box(7), box(70000))
    for name in ('detections', 'detections_3d'):
        chair, table = message(given, name).detections
        assert [item.hypothesis.class_id for item in chair.results] == ['chair', 'segment']
        assert [item.hypothesis.class_id for item in table.results] == [
            'unknown', 'segment', 'table']
        assert [item.hypothesis.score for item in table.results] == [0.4, 1.0, 1.0]
    assert chair.results[0].pose.pose == chair.bbox.center


def test_label_info_has_the_classes_of_the_vocabulary(vision, tmp_path):
    info = label_info(make_header(STAMP), with_names(tmp_path).config.vocabulary)
    assert [(item.class_id, item.class_name) for item in info.class_map] == [
        (0, 'unknown'), (1, 'chair'), (3, 'person'), (7, 'sofa')]


def test_markers_show_names_and_the_colours_of_the_vocabulary(tmp_path):
    _, *made = message(with_names(tmp_path, box(7), box(70000)), 'markers').markers
    assert [marker.text for marker in made if marker.text] == ['7 chair', '70000 table']
    cube = made[0]
    assert np.allclose([cube.color.r, cube.color.g, cube.color.b], np.array([10, 200, 30]) / 255)
    usual = label_colours(np.array([70000]))[0] / 255
    assert np.allclose([made[2].color.r, made[2].color.g, made[2].color.b], usual)


@pytest.mark.parametrize(('content', 'unlabelled', 'values'), [
    ('id', -1, {7: 7, 70000: 70000, -1: -1}), ('class', -1, {7: 1, 70000: 0, -1: -1}),
    ('class_and_id', 0, {7: 1 << 16 | 7, 70000: 1, -1: 0})])
def test_labels_and_points_agree_on_classes_and_colours(tmp_path, content, unlabelled, values):
    given = with_names(tmp_path, encoder=LabelEncoder('32SC1', unlabelled, content=content))
    image, cloud = message(given, 'labels'), points_of(message(given, 'points'))
    pixels = np.frombuffer(image.data, '<i4').reshape(image.height, image.width)
    for identity, value in values.items():
        assert (pixels[given.labels == identity] == value).all()
    assert np.array_equal(pixels.view('<u4'), cloud['label'])
    chair = cloud['rgb'] == (10 << 16 | 200 << 8 | 30)
    assert np.array_equal(chair, given.labels == 7)
    assert (cloud['rgb'][given.labels == -1] == 0xFFFFFF).all()
    assert not (cloud['rgb'] == 0xFF0000).any()


def test_overlay_has_the_name_and_the_colour(tmp_path):
    given = with_names(tmp_path)
    given.labels[:] = 7
    plain = (given.frame.rgb.astype(int) + [10, 200, 30]) // 2
    close = (np.abs(given.overlay - plain) <= 1).all(axis=2)
    assert 0.5 < close.mean() < 1


def test_what_is_called_so_is_removed(tmp_path):
    for names, wanted in ((('',), []), (('Chair',), [7]), (('unknown', 'couch'), [70000])):
        given = with_names(tmp_path, names=names)
        assert given.removed_ids == wanted
        mask = np.frombuffer(message(given, 'mask').data, np.uint8).reshape(given.labels.shape)
        assert np.array_equal(mask > 0, np.isin(given.labels, wanted))


def test_what_the_vocabulary_removes_is_removed(tmp_path):
    given = with_names(tmp_path)
    given.labels[:5] = 9
    assert given.removed_ids == [9]


@pytest.fixture
def semantic(monkeypatch):
    """Put a stand-in in place of semantic_inference_msgs where that is not installed."""
    if message_class('semantic_inference_msgs/msg/FeatureImage') is None:
        monkeypatch.setitem(sys.modules, 'semantic_inference_msgs', semantic_stand_in)
        monkeypatch.setitem(sys.modules, 'semantic_inference_msgs.msg', semantic_stand_in.MODULE)


def test_features_of_the_segments_in_view(semantic, tmp_path):
    given = with_names(tmp_path)
    given.labels[30:, :] = 12
    made = message(given, 'features')
    assert made.header == made.image.header == make_header(STAMP, 'optical')
    assert list(made.mask_ids) == [7, 70000]
    assert [list(vector.data) for vector in made.features] == [[1, -2, 0.5], [0, 3, 0.25]]
    assert made.image.encoding == '32SC1'
    pixels = np.frombuffer(made.image.data, '<i4').reshape(given.labels.shape)
    assert np.array_equal(pixels, np.where(np.isin(given.labels, [7, 70000]), given.labels, 0))


def test_no_features_without_a_segment_that_has_some(semantic, tmp_path):
    assert message(context(), 'features') is None
    given = with_names(tmp_path)
    given.labels[:] = 12
    assert message(given, 'features') is None


class RecordingNode:
    """Stands in for the lifecycle node, which has no publishers for a stand-in's messages."""

    def __init__(self) -> None:
        self.publishers: dict[str, SimpleNamespace] = {}

    def resolve_topic_name(self, name: str) -> str:
        return name.replace('~', '/diffseg')

    def create_lifecycle_publisher(self, kind, topic, qos, **options) -> SimpleNamespace:
        sent: list = []
        self.publishers[topic] = SimpleNamespace(
            kind=kind, qos=qos, sent=sent, publish=sent.append, get_subscription_count=lambda: 1)
        return self.publishers[topic]


def test_every_output_is_published_and_label_info_is_latched(vision):
    node = RecordingNode()
    publishers = OutputPublishers(node, NodeConfig(), 15)
    info = node.publishers['~/label_info']
    assert info.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert info.qos.reliability == ReliabilityPolicy.RELIABLE
    assert publishers.subscribed_outputs() == set(available_outputs())
    publishers.publish_label_info(7)
    publishers.publish(context().result, publishers.subscribed_outputs(), PipelineConfig())
    assert all(len(publisher.sent) == 1 for topic, publisher in node.publishers.items()
               if not topic.endswith(tuple(OF_MODELS)))


def test_label_info_is_published_again_where_the_vocabulary_changes(vision, tmp_path):
    node, given = RecordingNode(), with_names(tmp_path)
    publishers = OutputPublishers(node, NodeConfig(), 15)
    pipeline = SimpleNamespace(configure=lambda config: None, load=lambda path: 0,
                               naming={'naming_words_unknown': 'lamp'})
    logged: list[str] = []
    processor = FrameProcessor(
        pipeline, given.config, SimpleNamespace(epoch=0),
        SimpleNamespace(motion=None, ranges=None), publishers, Counters(),
        info=logged.append, warn=logged.append, clock=lambda: STAMP)
    for change in ({'naming.margin': 0.5}, {'naming.vocabulary': ('table', 'lamp')},
                   {'removal.max_size': 2.0}):
        processor.configure(updated(given.config, change))
        processor.load('')
        given.config = updated(given.config, change)
    info, = node.publishers['~/label_info'].sent
    assert [item.class_name for item in info.class_map] == ['unknown', 'table', 'lamp']
    assert info.header == make_header(STAMP)
    assert logged == ['naming model imagenet does not know: lamp']


@pytest.mark.parametrize('failure', ['', 'no room'])
def test_holes_that_stay_although_a_model_is_to_fill_them_are_named(failure):
    pipeline = SimpleNamespace(depth={'failure': failure, 'missing': 'no scale'})
    config = PipelineConfig(depth=DepthSettings(model='it', use='fill'))
    processor = FrameProcessor(
        pipeline, config, SimpleNamespace(epoch=0), SimpleNamespace(motion=None, ranges=None),
        SimpleNamespace(encoder=LabelEncoder()), Counters(), info=print, warn=print,
        clock=lambda: STAMP)
    assert processor.status().depth_failure == (failure or 'no scale')


def test_an_output_that_fails_keeps_no_other_back(vision, monkeypatch):
    node = RecordingNode()
    publishers = OutputPublishers(node, NodeConfig(), 15)
    monkeypatch.setattr('diffseg_ros.ros.outputs.points.pack_points', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publishers.publish(context().result, {'labels', 'points', 'overlay'}, PipelineConfig())
    assert {topic for topic, publisher in node.publishers.items() if publisher.sent} == {
        '~/labels', '~/overlay'}
