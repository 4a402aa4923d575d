from functools import partial
import json
import mmap
import os

import cv2
from diffseg_ros.backbones.unet import choose_block, trim_unet
from diffseg_ros.benchmark import measurement, stages
from diffseg_ros.benchmark.measurement import PeakMemory
from diffseg_ros.benchmark.stages import cloud_scene, measure_cloud
from diffseg_ros.cli import studies as cli_studies
from diffseg_ros.cli.benchmark import main
from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import pack_points
from diffusers import UNet2DConditionModel
import numpy as np
import pytest
from studies import random_unets, segmentation_speed
from studies.plain_cloud import plain_points
import torch

CUT = {'reference_ms', 'ours_ms', 'ratio', 'ari', 'segments'}


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """Return what a trial run of everything writes."""
    folder = tmp_path_factory.mktemp('benchmark')
    image = folder / 'image.png'
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    assert main(['--quick', '--growth', '--device', 'cpu', '--images', str(image),
                 '--json', str(folder / 'report.json')]) == 0
    return json.loads((folder / 'report.json').read_text())


def test_every_section_has_its_keys(report):
    assert set(report) >= {'segmentation', 'pipeline', 'cloud', 'tracking', 'device', 'model'}
    for method in ('normalized_cut', 'attention_merging'):
        assert set(report['segmentation'][method]) >= CUT
    for method in ('normalized_cut', 'normalized_cut_cues'):
        figures = report['segmentation'][method]
        for way in ('ours', 'ours_warm', 'ours_kway', 'ours_kway_warm'):
            assert 0 < figures[f'{way}_ms'] <= figures[f'{way}_p95_ms']
        assert figures['kway_device'] == 'cpu'
    methods = report['segmentation']['methods']
    assert {'regions', 'diffcut', 'kway', 'kway_alone_pamr'} <= set(methods)
    for stage in methods.values():
        assert 0 < stage['p50'] <= stage['p95'] and stage['segments'] >= 1
    stages = report['pipeline']
    assert {'features', 'segmentation', 'tracking', 'total', 'hz', 'peak_mb'} <= set(stages)
    for stage in ('features', 'segmentation', 'tracking', 'total', 'total_segmented'):
        assert 0 < stages[stage]['p50'] <= stages[stage]['p95']
    for size in ('640x480', '1280x720'):
        assert 0 < report['cloud'][size]['p50'] <= report['cloud'][size]['p95']
        assert report['cloud'][size]['ratio'] > 0
    assert report['tracking']['tracks'] >= 100
    assert 0 < report['tracking']['p50'] <= report['tracking']['p95']
    assert (report['device'], report['model']) == ('cpu', 'embedded')


def test_figures_are_consistent(report):
    for name in ('normalized_cut', 'normalized_cut_cues', 'attention_merging'):
        method = report['segmentation'][name]
        assert method['ratio'] == pytest.approx(method['reference_ms'] / method['ours_ms'],
                                                rel=0.01, abs=0.01)
        assert method['ari'] >= 0.99 and method['segments'] >= 1
    merged = report['segmentation']['attention_merging']
    assert merged['ratio_one_thread'] == pytest.approx(
        merged['reference_ms'] / merged['ours_one_thread_ms'], rel=0.01, abs=0.01)
    assert report['segmentation']['normalized_cut']['graphs'] == 3
    assert report['pipeline']['peak_mb'] > 100
    for rows in report['growth'].values():
        assert [row['tokens'] for row in rows] == sorted(row['tokens'] for row in rows)
    for row in report['growth']['normalized_cut']:
        assert 0 < row['ours_kway_ms'] and 0 <= row['ours_kway_extra_mb']


def test_both_ratios_of_the_merging_say_their_threads(monkeypatch):
    seen = []
    whole = segmentation_speed.reference_merging
    monkeypatch.setattr(segmentation_speed, 'reference_merging', lambda *given: seen.append(
        ('reference', torch.get_num_threads())) or whole(*given))
    ours = segmentation_speed.merge_attention
    monkeypatch.setattr(segmentation_speed, 'merge_attention', lambda *given: seen.append(
        ('ours', torch.get_num_threads())) or ours(*given))
    attention = torch.full((4, 4, 4, 4), 1 / 16)
    before = torch.get_num_threads()
    segmentation_speed.measure_merging(attention, 1.0, 2)
    assert torch.get_num_threads() == before
    cores = os.cpu_count()
    assert seen == [('ours', before), ('ours', cores), ('ours', 1), ('reference', 1),
                    ('ours', cores), ('ours', 1)]


def test_the_kway_cut_is_timed_on_the_device(monkeypatch):
    devices, emptied = [], []
    monkeypatch.setattr(
        segmentation_speed, 'kway_cut', lambda graph, tau, **keywords: devices.append(
            graph.device.type) or np.zeros(len(graph), np.int32))
    monkeypatch.setattr(measurement, 'synchronize', lambda device: emptied.append(device))
    graph = np.ones((6, 6), np.float32)
    report = segmentation_speed.measure_cut([graph, graph], 0.5, 1, torch.device('meta'))
    assert set(devices) == {'meta'} and report['kway_device'] == 'meta'
    assert emptied.count(torch.device('meta')) == 2 * 2 * 4


def test_warm_calls_begin_with_the_frame_before(monkeypatch):
    seen = {'cut': [], 'kway': []}

    def noting(name):
        def way(graph, tau, state=None):
            if state is not None:
                seen[name].append(getattr(state, 'frames', 0))
                state.frames = seen[name][-1] + 1
            return np.zeros(len(graph), np.int32)
        return way

    monkeypatch.setattr(segmentation_speed, 'normalized_cut', noting('cut'))
    monkeypatch.setattr(segmentation_speed, 'kway_cut', noting('kway'))
    segmentation_speed.measure_cut([np.ones((6, 6), np.float32) for _ in range(3)], 0.5, 2)
    assert seen == {'cut': [0, 0, 1, 1, 2, 2], 'kway': [0, 0, 1, 1, 2, 2]}


def test_only_the_named_sections_run(tmp_path, capsys):
    assert main(['cloud', '--quick', '--device', 'cpu',
                 '--json', str(tmp_path / 'cloud.json')]) == 0
    found = json.loads((tmp_path / 'cloud.json').read_text())
    assert 'cloud' in found and not {'pipeline', 'segmentation', 'tracking'} & set(found)
    assert 'cloud 640x480: p50' in capsys.readouterr().out


@pytest.mark.parametrize(('arguments', 'message'), [
    (['flight'], "section 'flight': unknown; choose from segmentation"),
    (['cloud', '--device', 'toaster'], "device 'toaster': unknown"),
    (['--shape', 'tiny', 'sd9'], "shape 'sd9': unknown; choose from sd15, lcm, sd21"),
    (['--compile'], '--compile: need --shape'),
    (['cloud', '--images', 'absent.png'], 'absent.png: cannot be read')])
def test_bad_input_is_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1


def test_each_shape_is_a_section(tmp_path, monkeypatch):
    tiny = random_unets.SHAPES['tiny']
    monkeypatch.setitem(random_unets.SHAPES, 'lcm', {**tiny, 'time_cond_proj_dim': 16})
    monkeypatch.setattr(stages, 'measure_pipeline', lambda frames, pipeline, count: {
        'hz': 1.0, 'stride': pipeline.backbone.stride})
    path = tmp_path / 'report.json'
    command = ['pipeline', '--quick', '--device', 'cpu', '--tiny-vae', '--json', str(path)]
    assert main([*command, '--shape', 'tiny', 'lcm', '--compile']) == 0
    report = json.loads(path.read_text())
    ways = ['pipeline tiny', 'pipeline tiny compiled', 'pipeline lcm', 'pipeline lcm compiled']
    assert [name for name in report if name.startswith('pipeline')] == ways
    for way in ways:
        assert report[way]['device'] == 'cpu' and report[way]['model'].split()[0] == way.split()[1]
        assert report[way]['compile'] == ('compiled' in way)
        assert (report[way]['hz'], report[way]['stride']) == (1.0, 32)
    assert main([*command, '--shape', 'tiny']) == 0
    report = json.loads(path.read_text())
    assert report['model'] == report['pipeline']['model'] == 'tiny shape, random weights'


def test_a_shape_that_fails_does_not_end_the_run(tmp_path, monkeypatch, capsys):
    whole = random_unets.random_backbone

    def full(shape, *given, **keywords):
        if shape == 'sdxl':
            raise DiffsegError('shape sdxl: does not fit')
        return whole(shape, *given, **keywords)

    monkeypatch.setattr(random_unets, 'random_backbone', full)
    path = tmp_path / 'report.json'
    assert main(['--quick', '--device', 'cpu', '--json', str(path),
                 '--shape', 'sdxl', 'tiny', 'pipeline']) == 2
    report = json.loads(path.read_text())
    assert report['pipeline sdxl'] == {'error': 'shape sdxl: does not fit'}
    assert report['pipeline tiny']['hz'] > 0
    assert capsys.readouterr().err.splitlines() == ['diffseg_benchmark: shape sdxl: does not fit']


@pytest.mark.parametrize(('shape', 'millions', 'kept'), [
    ('sd15', 860, 175), ('lcm', 860, 175), ('sd21', 866, 177), ('bk_base', 579, 87),
    ('bk_small', 482, 87), ('bk_tiny', 323, 87), ('sdxl', 2567, 830), ('ssd1b', 1331, 413)])
def test_shapes_have_the_published_number_of_parameters(shape, millions, kept):
    with torch.device('meta'):
        unet = UNet2DConditionModel(**random_unets.SHAPES[shape])
    assert round(sum(value.numel() for value in unet.parameters()) / 1e6) == millions
    trim_unet(unet, choose_block(unet, 'auto'), attention=False)
    assert round(sum(value.numel() for value in unet.parameters()) / 1e6) == kept


def test_functions_are_timed_in_turns():
    order = []
    times = measurement.take_turns(
        {name: partial(order.append, name) for name in 'ab'}, 3)
    assert order == ['a', 'b'] * 4 and len(times['a']) == len(times['b']) == 3


def test_peak_memory_sees_what_was_freed_again():
    with PeakMemory() as memory:
        with mmap.mmap(-1, 40_000_000) as block:
            block.write(b'x' * 40_000_000)
    assert 35 < memory.above_start_mb < 120
    with PeakMemory() as memory:
        pass
    assert memory.above_start_mb < 35


def test_the_plain_way_gives_the_same_points():
    frame, labels = cloud_scene(160, 120)
    assert len(np.unique(labels)) == 50 and np.isnan(frame.depth).mean() > 0.05
    words = pack_points(frame, labels, lambda ids: ids + 3)
    plain = plain_points(frame, labels + 3).view(np.uint32).reshape(120, 160, 6)
    valid = np.isfinite(frame.depth)
    np.testing.assert_allclose(words[valid][:, :3].view(np.float32),
                               plain[valid][:, :3].view(np.float32), rtol=2e-6, atol=1e-6)
    # Open3D gives no colour where there is no depth.
    np.testing.assert_array_equal(words[valid][:, 3], plain[valid][:, 3])
    np.testing.assert_array_equal(words[..., 4:], plain[..., 4:])


def test_clouds_are_timed_by_size_and_beside_another_way():
    alone = measure_cloud(3, sizes=[(160, 120)])['160x120']
    assert set(alone) == {'p50', 'p95', 'min'} and 0 < alone['min'] <= alone['p50']
    both = measure_cloud(3, plain_points, [(160, 120)])['160x120']
    assert both['ratio'] == pytest.approx(both['plain_p50'] / both['p50'], rel=0.1)


def test_without_the_source_repository_comparisons_are_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli_studies, 'CHECKOUT', tmp_path)
    assert main(['segmentation', '--quick', '--device', 'cpu']) == 2
    shown = capsys.readouterr().err
    assert 'come with the source repository' in shown and len(shown.splitlines()) == 1
    assert main(['cloud', '--quick', '--device', 'cpu']) == 0
    assert 'ratio' not in capsys.readouterr().out
