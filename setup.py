from glob import glob
import os

from setuptools import find_packages, setup

PACKAGE = 'diffseg_ros'
COMMANDS = ('benchmark', 'convert', 'demo', 'evaluate', 'map', 'node', 'play', 'relabel', 'replay',
            'segment', 'train')


def share(folder, pattern):
    """Return what installs the matching files of `folder` into the package's share folder."""
    files = sorted(name for name in glob(os.path.join(folder, pattern)) if os.path.isfile(name))
    return [(os.path.join('share', PACKAGE, folder), files)] if files else []


def requirements(name):
    """Return the requirements of one of the files in requirements/."""
    with open(os.path.join('requirements', name)) as file:
        lines = [line.split('#')[0].strip() for line in file]
    return [line for line in lines if line and not line.startswith('-')]


setup(
    name=PACKAGE,
    version='0.2.0',
    description='Class-free, prompt-free segmentation of camera images with a diffusion model, '
                'with persistent ids and labelled point clouds on ROS 2 topics',
    license='Apache-2.0',
    url='https://example.org/diffseg_ros',
    maintainer='diffseg_ros maintainers',
    maintainer_email='diffseg-ros@example.org',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['*.pyi', 'py.typed', 'weights/*', 'weights/**/*', 'naming/*.yaml',
                            'comparison/*.html']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        *share('launch', '*.launch.py'),
        *share('config', '*'),
        *share('config/profiles', '*'),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    extras_require={
        'library': requirements('library.txt'),
        'video': [line for line in requirements('library.txt') if line.startswith('av==')],
        'wheels': requirements('library.txt') + requirements('ros.txt'),
        'names': requirements('library.txt') + requirements('names.txt'),
        'training': requirements('library.txt') + requirements('training.txt'),
        'viewer': requirements('library.txt') + requirements('viewer.txt'),
        'fleet': requirements('library.txt') + requirements('fleet.txt'),
        'test': requirements('test.txt'),
        'docs': requirements('docs.txt'),
    },
    zip_safe=False,
    entry_points={
        'console_scripts': [f'diffseg_{name} = {PACKAGE}.cli.{name}:main' for name in COMMANDS],
    },
)
