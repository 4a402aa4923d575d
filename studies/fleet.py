"""
Many recordings by diffseg_relabel: isolation, a killed run, a lost node, scaling, memory, parts.

`python -m studies.fleet FOLDER` cuts recordings from the sequences in $DIFFSEG_DATA (default
../shared/data), works in FOLDER and prints the figures; a name after it runs that part alone.
`killed` and `lost_node` compare with what `isolation` left in FOLDER.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from diffseg_ros.cli.convert import main as convert
from diffseg_ros.cli.relabel import _job, _parser
from diffseg_ros.comparison.many import compare_trees
from diffseg_ros.config import PipelineConfig
from diffseg_ros.evaluation.measure import MeasureSet, Observation
from diffseg_ros.fleet.index import read_index, Row
from diffseg_ros.fleet.recordings import find_recordings
from diffseg_ros.io.images import read_image, read_units, sorted_images, write_image
from diffseg_ros.io.messages import typestore
from diffseg_ros.io.sequence_folder import SequenceFolder
from diffseg_ros.synthetic.sequence_writer import render_sequence
from diffseg_ros.types import UNLABELLED
import numpy as np
from rosbags.highlevel import AnyReader

from studies.fleet_faults import EXIT, HANG, installed

SEQUENCES = ('redkitchen', 'tum_fr1_rpy', 'replica_office0', 'davis_blackswan', 'davis_camel',
             'davis_cows')
FRAMES, GOOD, TIMEOUT = 10, 20, 30
NOT_COMPARED = {'.diffseg_manifest.jsonl', 'report.json', 'row.json', 'tracks.parquet'}
MODEL = '--set', 'backbone.model=faulty_embedded'


def cut(data: Path, number: int, folder: Path) -> Path:
    """Write the next FRAMES frames of one of the sequences as a sequence folder."""
    source, first = data / SEQUENCES[number % 6], FRAMES * (number // 6)
    for part in ('rgb', 'depth'):
        for image in sorted_images(source / part)[first:first + FRAMES]:
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(image, folder / part)
    for name in ('times.txt', 'poses.txt'):
        if (source / name).exists():
            lines = (source / name).read_text().splitlines()[first:first + FRAMES]
            (folder / name).write_text('\n'.join(lines) + '\n')
    if (source / 'camera.json').exists():
        shutil.copy(source / 'camera.json', folder)
    return folder


def make_recordings(data: Path, folder: Path) -> None:
    """Write 20 good recordings of four kinds, two broken ones, one that exits, one that hangs."""
    for number in range(GOOD):
        sequence = cut(data, number, folder / 'cut' / f'{number:02d}')
        suffix = ('', '.mcap', '.db3', '_bag')[number // 6 % 4]
        target = folder / 'good' / f'{number:02d}{suffix}'
        target.parent.mkdir(exist_ok=True)
        if suffix:
            assert convert([str(sequence), str(target)]) == 0
        else:
            sequence.rename(target)
    bad = folder / 'bad'
    bad.mkdir()
    whole = next((folder / 'good').glob('*.mcap')).read_bytes()
    (bad / 'cut_off.mcap').write_bytes(whole[:len(whole) // 2])
    shutil.copytree(next((folder / 'good').glob('*_bag')), bad / 'parts_missing')
    next((bad / 'parts_missing').glob('*.mcap')).rename(bad / 'parts_missing' / 'lost.mcap')
    for name, mark in (('exits', EXIT), ('hangs', HANG)):
        # The first frame is always looked at by the model.
        image = sorted_images(cut(data, 3, bad / name) / 'rgb')[0]
        pixels = read_image(image).copy()
        pixels[0, 0] = mark
        image.unlink()
        write_image(image.with_suffix('.png'), pixels)


class Study:
    """The recordings in a folder, and the parts of the study on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(root), str(folder / 'plugins')])
        # Ray gives way to other processes, which a loop of diffseg_replay does not.
        self._environment = {**os.environ, 'PYTHONPATH': path, 'RAY_worker_niceness': '0'}
        self._data = Path(os.environ.get('DIFFSEG_DATA', root.parent / 'shared' / 'data')
                          ) / 'sequences'
        if not (folder / 'good').exists():
            folder.mkdir(parents=True, exist_ok=True)
            installed(folder / 'plugins')
            make_recordings(self._data, folder)

    def _start(self, name: str, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, '-m', name, *map(str, arguments)],
                                env=self._environment, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def _relabel(self, output: str, *arguments: object) -> subprocess.Popen[bytes]:
        return self._start('diffseg_ros.cli.relabel', *arguments, '--output',
                           self.folder / output, *MODEL)

    def _links(self, name: str, times: int, sources: Sequence[Path]) -> list[Path]:
        """Return links to the sources, several times each, in a folder of the study."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        links = [folder / f'{source.name}_{number}' for number in range(times)
                 for source in sources]
        for number, link in enumerate(links):
            if not link.is_symlink():
                link.symlink_to(sources[number % len(sources)], target_is_directory=True)
        return links

    def scaling(self) -> None:
        """Time a loop of diffseg_replay, one process, and 1 and 2 workers, all sequences twice."""
        sources = self._links('long', 2, sorted(self._data.iterdir()))
        loops: dict[str, Callable[[], object]] = {
            'diffseg_replay in a loop': lambda: [self._start(
                'diffseg_ros.cli.replay', source, '--output', self.folder / 'loop' / source.name,
                *MODEL).wait() for source in sources],
            'one process without Ray': lambda: self._start(
                'studies.fleet', self.folder, 'in_one_process').wait(),
            '1 worker': lambda: self._relabel('one', *sources, '--workers', 1).wait(),
            '2 workers': lambda: self._relabel('two', *sources, '--workers', 2).wait()}
        for name, loop in loops.items():
            start = time.monotonic()
            loop()
            seconds = time.monotonic() - start
            rate = 60 * len(sources) / seconds
            print(f'{name}: {seconds:.1f} s, {rate:.1f} recordings a minute', flush=True)
        for output in ('process', 'one', 'two'):
            ends = sorted(path.stat().st_mtime
                          for path in (self.folder / output).glob('[!.]*/row.json'))
            rate = 60 * (len(ends) - 1) / (ends[-1] - ends[0])
            print(f'{output}: after the first result {rate:.1f} a minute', flush=True)

    def in_one_process(self) -> None:
        """Label the recordings of `scaling` as a worker does, but without Ray."""
        output = self.folder / 'process'
        output.mkdir(exist_ok=True)
        job = _job(_parser().parse_args(['any', '--output', str(output), *MODEL]))
        for recording in find_recordings(map(str, (self.folder / 'long').iterdir())):
            assert not job.run(recording, 'node', lambda done, total: None).error

    def parts(self) -> None:
        """Label sequences and rooms whole and in parts; tell how many pixels got another id."""
        for seed in (0, 1):
            if not (room := self.folder / 'rooms' / f'room_{seed}').exists():
                for _ in render_sequence(room, 240, seed):
                    pass
        # The real ones are short: keyframes follow quickly, so that the overlap is too.
        quick = '--set', 'tracking.keyframe_interval=5', '--set', 'tracking.confirm_after=2'
        for name, minutes, options in (('rooms', 80 / 1800, ()), ('real', 20 / 1800, quick)):
            source = self._data if name == 'real' else self.folder / name
            common = source, '--no-bag', '--clouds', 0, *options
            self._relabel(f'{name}_whole', *common).wait()
            self._relabel(f'{name}_parts', *common, '--split-minutes', minutes).wait()
            found, notes, failures = compare_trees(self.folder / f'{name}_parts',
                                                   self.folder / f'{name}_whole')
            for one in found:
                print(f'{one.name}: {len(one.frames)} frames, {one.figures}', *notes, *failures)
            for folder in sorted(source.glob('room*')):
                for way in ('whole', 'parts'):
                    print(way, score(folder, self.folder / f'{name}_{way}' / folder.name))

    def isolation(self) -> None:
        """Label all 24; compare the good ones with those of diffseg_replay."""
        process = self._relabel('all', self.folder / 'good', self.folder / 'bad',
                                '--continue-on-error', '--timeout', TIMEOUT)
        print(f'exit code {process.wait()}')
        for source in sorted((self.folder / 'good').iterdir()):
            self._start('diffseg_ros.cli.replay', source, '--output',
                        self.folder / 'alone' / source.name, *MODEL).wait()
        rows = read_index(self.folder / 'all')
        for row in rows.values():
            if row.error:
                print(f'{row.recording}: {row.error}')
        same = [same_replay(self.folder / 'all' / path.name, path)
                for path in sorted((self.folder / 'alone').iterdir())]
        print(f'{len(rows)} rows; {sum(same)} of {len(same)} as diffseg_replay writes them')

    def killed(self) -> None:
        """Kill the driver half-way, resume, and compare with the index of `isolation`."""
        arguments = (self.folder / 'good', self.folder / 'bad', '--continue-on-error',
                     '--timeout', TIMEOUT, '--resume')
        process, output = self._relabel('killed', *arguments), self.folder / 'killed'
        wait_for(lambda: len(list(output.glob('[!.]*/row.json'))) >= GOOD // 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(5)
        done = {path: path.stat().st_mtime_ns for path in output.glob('[!.]*/row.json')}
        code = self._relabel('killed', *arguments).wait()
        print(f'killed with {len(done)} whole; then exit code {code}')
        again = sum(path.stat().st_mtime_ns != before for path, before in done.items())
        same = timeless(read_index(output)) == timeless(read_index(self.folder / 'all'))
        print(f'done twice: {again}; same index: {same}')

    def lost_node(self) -> None:
        """Kill one of two nodes while both work."""
        from ray.cluster_utils import Cluster

        os.environ['PYTHONPATH'] = self._environment['PYTHONPATH']
        cluster = Cluster(initialize_head=True, head_node_args={
            'num_cpus': 0, 'object_store_memory': 10**8})
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(2)]
        process = self._relabel('nodes', self.folder / 'good', '--address', cluster.address)
        output = self.folder / 'nodes'
        wait_for(lambda: len(list(output.glob('[!.]*/row.json'))) >= 6)
        print(f'in work: {sorted(path.name for path in output.glob(".*.attempt"))}', flush=True)
        cluster.remove_node(nodes[1], allow_graceful=False)
        code = process.wait()
        rows = read_index(output)
        same = [same_replay(output / path.name, path)
                for path in sorted((self.folder / 'alone').iterdir())]
        print(f'exit code {code}; {sum(not row.error for row in rows.values())} of {len(rows)} '
              f'labelled, {sum(same)} as diffseg_replay writes them; workers '
              f'{sorted({row.worker for row in rows.values()})}')
        cluster.shutdown()

    def memory(self) -> None:
        """Print the memory of one worker over 50 recordings."""
        links = self._links('fifty', 9, sorted((self.folder / 'good').iterdir())[:6])[:50]
        process = self._relabel('fifty_out', *links, '--workers', 1, '--no-bag',
                                '--limit', 4)
        seen: dict[int, float] = {}
        while process.poll() is None:
            done = len(list((self.folder / 'fifty_out').glob('[!.]*/row.json')))
            seen[done] = max(seen.get(done, 0.0), max(worker_memory(), default=0.0))
            time.sleep(0.05)
        print({done: round(megabytes) for done, megabytes in seen.items() if done % 5 == 0})


def score(recording: Path, results: Path) -> dict[str, object]:
    """Return how well the labels of a replay track the true objects of a room."""
    source, measures = SequenceFolder(recording), MeasureSet('tracks', PipelineConfig().measures)
    for item in source.numbered_frames():
        values = read_units(results / 'labels' / f'{item.number:06d}.png').astype(np.int32)
        labels = np.where(values == 2**16 - 1, np.int32(UNLABELLED), values)
        measures.update(Observation(
            labels, item.frame, np.full(labels.shape, 255, np.uint8),
            source.instances(item.number), background=source.background))
    found = measures.compute()
    return {name: found[name] for name in ('stq', 'idf1', 'hota', 'id_switches')}


def same_replay(one: Path, other: Path) -> bool:
    """Return whether two folders have the same files, of a bag the same messages."""
    def files(folder: Path) -> dict[str, object]:
        return {str(path.relative_to(folder)): (
            messages(path) if path.suffix == '.mcap' else path.read_bytes())
            for path in folder.rglob('*') if path.is_file() and path.name not in NOT_COMPARED}

    return files(one) == files(other)


def messages(bag: Path) -> list[tuple[str, int, str]]:
    """Return what a bag holds; the bytes between the fields of a message may be any."""
    with AnyReader([bag], default_typestore=typestore()) as reader:
        return [(connection.topic, stamp, fields(reader.deserialize(data, connection.msgtype)))
                for connection, stamp, data in reader.messages()]


def fields(message: object) -> str:
    """Return a message as text, with all numbers of its arrays."""
    def plain(value: object) -> object:
        if hasattr(value, 'tobytes'):
            return value.tobytes().hex()
        if isinstance(value, list):
            return [plain(item) for item in value]
        if hasattr(value, '__dict__'):
            return {name: plain(item) for name, item in vars(value).items()}
        return value

    return repr(plain(message))


def timeless(rows: Mapping[str, Row]) -> list[dict[str, object]]:
    """Return rows without times and names of workers."""
    return [asdict(row) | {'seconds': 0, 'worker': ''} for _, row in sorted(rows.items())]


def wait_for(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait until it holds; raise TimeoutError if it does not for too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def worker_memory() -> Iterator[float]:
    """Yield the megabytes of their own that the workers on this machine have."""
    for process in Path('/proc').glob('[0-9]*'):
        try:
            if (process / 'cmdline').read_bytes().startswith(b'ray::_Worker'):
                lines = (process / 'status').read_text().splitlines()
                yield next(int(line.split()[1]) / 1024 for line in lines
                           if line.startswith('RssAnon'))
        except (OSError, StopIteration):
            continue


if __name__ == '__main__':
    study = Study(Path(sys.argv[1]).resolve())
    for part in sys.argv[2:] or ('scaling', 'isolation', 'killed', 'lost_node', 'memory',
                                 'parts'):
        print(f'{part}:', flush=True)
        getattr(study, part)()
