"""What all tests share: repeatable random examples, and where the real data lies."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

from hypothesis import settings
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile('repeatable', derandomize=True, deadline=None)
settings.load_profile('repeatable')


def _real(part):
    """Return a folder of the real data; skip where it is not on this machine."""
    data = Path(os.environ.get('DIFFSEG_DATA', REPOSITORY.parent / 'shared' / 'data'))
    if not (data / part).is_dir():
        pytest.skip(f'no real data at {data / part}; set DIFFSEG_DATA')
    return data / part


@pytest.fixture(scope='session')
def real_sequences():
    """Return the folder of real recordings."""
    return _real('sequences')


@pytest.fixture(scope='session')
def real_photos():
    """Return the folder of real photos, tar files."""
    return _real('photos')


@pytest.fixture(scope='session')
def stub_teacher():
    """Return a class in place of Teacher: its features are mixtures of colours, and fast."""
    import cv2
    from diffseg_ros.backbones.imagenet_features import STRIDE
    from diffseg_ros.training.teacher import Teacher
    import torch
    from torch.nn import functional

    class StubTeacher(Teacher):
        def __init__(self, device):
            self._device = device
            generator = torch.Generator().manual_seed(0)
            self._mixing = torch.randn(472, 96, 1, 1, generator=generator)

        def _features(self, image):
            height, width = (max(1, side // STRIDE) * 4 for side in image.shape[:2])
            small = torch.from_numpy(cv2.resize(image, (width, height))).permute(2, 0, 1) / 255
            folded = functional.pixel_unshuffle(small[None], 4)
            mixed = functional.conv2d(torch.cat([folded, folded.square()], dim=1), self._mixing)
            return mixed.to(self._device)
    return StubTeacher


@pytest.fixture(scope='session')
def plugin_site(tmp_path_factory):
    """Return a folder for PYTHONPATH in which test/plugin_package is installed."""
    folder = tmp_path_factory.mktemp('plugins')
    # A build leaves files beside its sources.
    sources = shutil.copytree(REPOSITORY / 'test' / 'plugin_package', folder / 'sources')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps',
                    '--no-build-isolation', '--disable-pip-version-check',
                    '--target', folder / 'site', sources], check=True, timeout=120)
    return folder / 'site'


@pytest.fixture(scope='session')
def real_masks():
    """Return the folder of real mask data sets."""
    return _real('masks')


@pytest.fixture(scope='session')
def see_boxes():
    """Return a function that gives depth (metres, NaN) and numbers (-1) of boxes in view."""
    import open3d

    def see(boxes, pose, intrinsics):
        """See (centre, size, rotation) boxes from a camera-to-world pose."""
        scene = open3d.t.geometry.RaycastingScene()
        for centre, size, rotation in boxes:
            mesh = open3d.geometry.TriangleMesh.create_box(*size)
            mesh.translate((0, 0, 0), relative=False)
            mesh.rotate(rotation, (0, 0, 0)).translate(centre)
            scene.add_triangles(open3d.t.geometry.TriangleMesh.from_legacy(mesh))
        columns, rows = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
        ahead = np.stack([(columns - intrinsics.cx) / intrinsics.fx,
                          (rows - intrinsics.cy) / intrinsics.fy, np.ones(rows.shape)], axis=-1)
        rays = np.concatenate([np.broadcast_to(pose[:3, 3], ahead.shape),
                               ahead @ pose[:3, :3].T], axis=-1).astype(np.float32)
        hits = scene.cast_rays(open3d.core.Tensor(rays))
        depth, numbers = hits['t_hit'].numpy(), hits['geometry_ids'].numpy()
        seen = np.isfinite(depth)
        return np.where(seen, depth, np.float32(np.nan)), np.where(seen, numbers, -1).astype('i4')
    return see
