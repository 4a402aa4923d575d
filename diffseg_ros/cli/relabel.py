"""diffseg_relabel: replay many recordings on many processes or machines, with Ray."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
import fcntl
import importlib.util
import math
from pathlib import Path
import re
import sys
import time
from typing import Any, TYPE_CHECKING
import uuid

from diffseg_ros import __version__
from diffseg_ros.cli.command import add_json_option, make_folder, run_stoppable, write_json
from diffseg_ros.cli.compare_options import (
    add_compare_options,
    checked_tolerances,
    COMPARISON_NAMES,
    write_comparisons,
)
from diffseg_ros.cli.pipeline_options import bag_settings, pipeline_config
from diffseg_ros.cli.replay import add_replay_options, check_replay_options
from diffseg_ros.cli.signals import StopSignal
from diffseg_ros.cli.source_frames import positive, topic_names_of_bags
from diffseg_ros.errors import DiffsegError
from diffseg_ros.settings import updated
from tqdm import tqdm

if TYPE_CHECKING:
    from diffseg_ros.cli.relabel_job import RelabelJob
    from diffseg_ros.fleet.index import Row
    from diffseg_ros.fleet.recordings import Recording
    from diffseg_ros.fleet.workers import Fleet

_INDEX_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='diffseg_relabel', description=__doc__)
    parser.add_argument('sources', nargs='+', metavar='SOURCE',
                        help='recordings, folders to search for them, globs, text lists (.txt); '
                        'local, or a URL such as s3://BUCKET/FOLDER')
    parser.add_argument('--output', type=Path, required=True, metavar='DIR',
                        help='a folder for each recording, index.parquet and tracks.parquet go '
                        'here; all machines must have it at this path')
    parser.add_argument('--address', metavar='ADDRESS',
                        help="Ray cluster: 'auto', HOST:PORT or ray://HOST:PORT (default: this "
                        'machine alone)')
    parser.add_argument('--workers', type=positive, metavar='N',
                        help='workers (default: as many as there are cores and GPUs for)')
    parser.add_argument('--cpus', type=_share, default=1.0, metavar='N',
                        help='cores for each worker (1)')
    parser.add_argument('--gpus', type=_share, default=0.0, metavar='F',
                        help='GPUs for each worker, a fraction to share one (0: the CPU)')
    parser.add_argument('--timeout', type=_amount, default=0.0, metavar='S',
                        help='end a recording that takes longer than this many seconds (0: never)')
    parser.add_argument('--split-minutes', type=_amount, default=0.0, metavar='M',
                        help='label recordings that take longer in parts of about M minutes, by '
                        'several workers, and join the ids (0: never)')
    parser.add_argument('--resume', action='store_true',
                        help='leave out what is done with the same input, settings and release')
    parser.add_argument('--retry-failed', action='store_true',
                        help='with --resume, try again what failed')
    parser.add_argument('--continue-on-error', action='store_true',
                        help='go on after a recording that fails')
    add_replay_options(parser, 'DIR/NAME')
    add_compare_options(parser, 'DIR')
    add_json_option(parser)
    return parser


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r}: a number is needed') from error
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f'{text}: 0 or more is needed')
    return value


def _share(text: str) -> float:
    """Return an amount in steps of 0.0001, finer than which Ray refuses, rounded down."""
    return math.floor(_amount(text) * 1e4 + 1e-6) / 1e4


@dataclass
class _Run:
    """
    What is to be done and what became of it.

    Attributes
    ----------
    rows
        All rows of the index, by recording; those of other sources stay.
    kept
        Names of the recordings that were done before.
    wanted
        How many recordings there are with these.
    new, newly_failed
        Names of those that were tried, and how many of them failed.
    parts
        How many parts of recordings were labelled.
    told
        Whether the user was told that no worker begins.

    """

    output: Path
    rows: dict[str, Row]
    kept: list[str]
    wanted: int
    new: list[str] = field(default_factory=list)
    newly_failed: int = 0
    parts: int = 0
    told: bool = False
    start: float = field(default_factory=time.monotonic)

    def add(self, row: Row) -> None:
        self.rows[row.recording] = row
        self.new.append(row.recording)
        self.newly_failed += bool(row.error)

    @property
    def failures(self) -> list[Row]:
        """The recordings that have no results, by this run or an earlier one."""
        return [row for name in sorted(self.kept + self.new) if (row := self.rows[name]).error]

    def report(self, stopped: bool) -> dict[str, Any]:
        seconds = time.monotonic() - self.start
        rows = [self.rows[name] for name in self.new]
        frames = sum(row.frames for row in rows)
        return {'recordings': self.wanted, 'skipped': len(self.kept),
                'labelled': sum(not row.error for row in rows),
                'failed': len(self.failures),
                'not_done': self.wanted - len(self.kept) - len(self.new),
                'frames': frames, 'frames_failed': sum(row.failed for row in rows),
                'seconds': seconds, 'frames_per_second': frames / seconds,
                'recordings_per_minute': 60 * len(rows) / seconds, 'stopped': stopped,
                'failures': [{'recording': row.recording, 'source': row.source,
                              'error': row.error} for row in self.failures]}


def _run(arguments: argparse.Namespace, stop: StopSignal) -> int:
    _check_extra()
    if re.match(r'\w+:/', str(arguments.output)):
        raise DiffsegError(f'--output {arguments.output}: results go to a folder, not to a store; '
                           'name one, and copy it to the store afterwards')
    with stop.interrupting():
        job, tolerances = _job(arguments), checked_tolerances(arguments)
        _check_compare(arguments)

        from diffseg_ros.fleet.index import read_index, write_index, write_tracks
        from diffseg_ros.fleet.recordings import find_recordings, named_as_before

        recordings = find_recordings(arguments.sources)
        _check_apart(arguments.output, recordings)
    make_folder(arguments.output)
    with _alone_in(arguments.output, job):
        with stop.interrupting():
            rows = read_index(arguments.output)
            recordings = named_as_before(recordings, rows)
            todo = _left_to_do(arguments, job, recordings, rows)
        kept = sorted({one.name for one in recordings} - {one.name for one in todo})
        run = _Run(arguments.output, rows, kept, len(recordings))
        try:
            if todo:
                job.remove_left_over()
                _label(run, todo, arguments, job, stop)
        finally:
            with suppress(OSError):  # a later run removes it
                job.remove_left_over()  # first, as the disk may be full
            if run.rows:
                write_index(run.output, run.rows.values())
                write_tracks(run.output, run.rows.values())
    report = run.report(stop())
    write_json(arguments.json, report)
    _print_summary(report, arguments.output)
    if stop():
        return 0
    failed = 1 if report['failed'] else 0
    if arguments.compare is None:
        return failed
    unlabelled = {one.name for one in recordings} - {
        name for name in [*kept, *run.new] if not rows[name].error}
    with stop.interrupting():
        return max(failed, _compare(arguments, tolerances, unlabelled))


def _check_compare(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be compared with the output."""
    if arguments.compare is None:
        return
    if not arguments.compare.is_dir():
        raise DiffsegError(f'--compare {arguments.compare}: no such folder; name one that '
                           'diffseg_relabel wrote')
    old, new = arguments.compare.resolve(), arguments.output.resolve()
    if old in (new, *new.parents) or new in old.parents:
        raise DiffsegError(f'--compare {arguments.compare}: is --output {arguments.output}, or '
                           'one lies in the other; keep the older results elsewhere')


def _compare(arguments: argparse.Namespace, tolerances: dict[str, float],
             unlabelled: set[str]) -> int:
    """Write what changed since an older run, and return the exit code."""
    from diffseg_ros.cli.output_folder import OutputFolder
    from diffseg_ros.cli.relabel_job import COMMAND
    from diffseg_ros.comparison.many import compare_trees

    comparisons, notes, failures = compare_trees(arguments.output, arguments.compare, unlabelled)
    notes += failures
    for note in notes:
        print(note, file=sys.stderr)
    with OutputFolder(arguments.output, COMMAND, COMPARISON_NAMES):
        beyond = write_comparisons(arguments.output, comparisons, tolerances, notes=notes,
                                   title=f'{len(comparisons)} recordings: what changed')
    return max(beyond, int(bool(tolerances and failures)))  # not measured: beyond any tolerance


def _check_extra() -> None:
    missing = [name for name in ('ray', 'pyarrow', 'fsspec')
               if importlib.util.find_spec(name) is None]
    if missing:
        raise DiffsegError(f'diffseg_relabel needs {", ".join(missing)}, not installed here; run: '
                           'pip install "diffseg_ros[fleet]"')


def _job(arguments: argparse.Namespace) -> RelabelJob:
    """Return what the workers do, or raise DiffsegError where the options cannot be used."""
    from diffseg_ros.backbones.loader import model_kind
    from diffseg_ros.cli.relabel_job import RelabelJob

    config = pipeline_config(arguments)
    check_replay_options(arguments)
    if arguments.retry_failed and not arguments.resume:
        raise DiffsegError('--retry-failed: belongs to --resume, which is missing; without it all '
                           'recordings are labelled again')
    if config.memory.file:
        raise DiffsegError('parameter memory.file: recordings are labelled each by itself, in any '
                           'order; leave it out, or replay them one after the other with '
                           'diffseg_replay')
    if not arguments.cpus and not arguments.gpus:
        raise DiffsegError('--cpus 0: without a share of a GPU (--gpus) there is no limit to the '
                           'number of workers; give 1 or more')
    if arguments.gpus > 1 and arguments.gpus % 1:
        raise DiffsegError(f'--gpus {arguments.gpus:g}: Ray shares one GPU, not several; give a '
                           'fraction below 1 or a whole number')
    if not arguments.gpus and config.backbone.device == 'auto':
        config = updated(config, {'backbone.device': 'cpu'})  # a GPU is used where Ray counts it
    model_kind(config.backbone)
    options = argparse.Namespace(**{name: getattr(arguments, name) for name in (
        'every', 'limit', 'clouds', 'no_bag', 'plots')})
    return RelabelJob(arguments.output.absolute(), config, topic_names_of_bags(arguments),
                      bag_settings(arguments), options, uuid.uuid4().hex[:12], __version__,
                      arguments.timeout, max(1, int(arguments.cpus)), arguments.split_minutes)


def _check_apart(output: Path, recordings: list[Recording]) -> None:
    """Refuse an output folder in a recording, and recordings in the output folder."""
    place = output.resolve()
    for recording in recordings:
        if recording.local:
            source = Path(recording.address).resolve()
            if place in (source, *source.parents) or source in place.parents:
                raise DiffsegError(f'--output {output}: lies in the recording '
                                   f'{recording.address}, or it in there; name another folder')


def _left_to_do(arguments: argparse.Namespace, job: RelabelJob, recordings: list[Recording],
                rows: dict[str, Row]) -> list[Recording]:
    """
    Return the recordings to label; `rows` gets those of the others.

    Raises
    ------
    DiffsegError
        Where results would go there is something that no command wrote.

    """
    todo = []
    for recording in recordings:
        before = rows.get(recording.name)
        row = job.done(recording) if arguments.resume else None
        if (row is None and arguments.resume and not arguments.retry_failed and before is not None
                and before.error and before.same_work(job.blank_row(recording))):
            row = before
        if row is not None:
            rows[recording.name] = row
        else:
            job.check_place(recording)
            todo.append(recording)
    return todo


@contextmanager
def _alone_in(output: Path, job: RelabelJob) -> Iterator[None]:
    """Refuse a second run into the same folder while the block runs."""
    with job.lock.open('a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DiffsegError(f'--output {output}: another diffseg_relabel writes there; wait '
                               'for its end, or name another folder') from error
        except OSError as error:
            print(f'--output {output}: a second run there would not be noticed, as files cannot '
                  f'be locked ({error.strerror})', file=sys.stderr)
        try:
            job.lock.write_text(job.run_id)
            yield
        finally:
            job.lock.unlink(missing_ok=True)
            if not any(output.iterdir()):
                output.rmdir()


def _label(run: _Run, todo: list[Recording], arguments: argparse.Namespace, job: RelabelJob,
           stop: StopSignal) -> None:
    """Label the recordings and note their rows, until a signal comes."""
    from diffseg_ros.fleet.parts import PartRow, PartsInWork
    from diffseg_ros.fleet.recordings import Recording
    from diffseg_ros.fleet.workers import Crew, Fleet

    crew = Crew(arguments.address, arguments.workers or 0, arguments.cpus, arguments.gpus)
    index = _Index(run)
    with stop.interrupting():
        left = deque(task for recording in todo for task in job.tasks(recording))
    parts = PartsInWork(left)
    joins = sum(task.part is not None and not task.part.number for task in left)
    with Fleet(crew, job, len(left)) as fleet, _bar(len(left) + joins, joins) as bar:
        for row in fleet.rows(left, lambda: stop() or bool(
                run.newly_failed and not arguments.continue_on_error)):
            failed = run.newly_failed
            if row is None:
                _show(bar, run, fleet)
            elif isinstance(found := parts.add(row), Recording):
                left.appendleft(found)
            elif found is not None:
                run.add(found)
                for task in [task for task in left if task.name == found.recording]:
                    left.remove(task)  # parts of what failed
                if found.error:
                    job.remove_parts(found)
            run.parts += isinstance(row, PartRow)
            index.update(urgent=run.newly_failed > failed)
            if stop():
                break


class _Index:
    """
    Writes the index so often that a killed run loses little, and so rarely that it costs little.

    Failures are written sooner: of what was labelled, the folders tell.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._urgent = False
        self._written, self._cost = time.monotonic(), 0.0

    def update(self, *, urgent: bool) -> None:
        """Write the index where it is time to."""
        from diffseg_ros.fleet.index import write_index

        self._urgent |= urgent
        start = time.monotonic()
        least = 0.0 if self._urgent else _INDEX_SECONDS
        if start - self._written > max(least, 20 * self._cost):
            write_index(self._run.output, self._run.rows.values())
            self._urgent, self._written = False, time.monotonic()
            self._cost = self._written - start


def _bar(total: int, joins: int) -> tqdm:
    what = 'tasks' if joins else 'recordings'
    return tqdm(total=total, disable=not sys.stderr.isatty(), leave=False, bar_format=(
        f'{{percentage:3.0f}}%|{{bar}}| {{n:.1f}} of {{total}} {what} [{{elapsed}}, '
        '{remaining} left{postfix}]'))


def _show(bar: tqdm, run: _Run, fleet: Fleet) -> None:
    progress = fleet.progress()
    if not (run.told or progress.begun) and time.monotonic() - run.start > _PATIENCE_SECONDS:
        run.told = True
        print('no worker has begun yet: the cores or GPUs are in use, or machines cannot start a '
              'worker; waiting (ray status tells more)', file=sys.stderr)
    rate = progress.frames / (time.monotonic() - run.start)
    bar.set_postfix_str(f'{progress.frames} frames, {rate:.1f} a second, {run.newly_failed} '
                        'failed', refresh=False)
    bar.n = len(run.new) + run.parts + progress.in_work
    bar.refresh()


def _print_summary(report: dict[str, Any], output: Path) -> None:
    for failure in report['failures']:
        print(f'failed: {failure["recording"]}: {failure["error"]}', file=sys.stderr)
    print(f'{"stopped early: " if report["stopped"] else ""}{report["labelled"]} recordings '
          f'labelled, {report["skipped"]} done before, {report["failed"]} failed, '
          f'{report["not_done"]} not done; {report["frames"]} frames, '
          f'{report["frames_per_second"]:.1f} a second, into {output}')


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_stoppable(_run, _parser(), argv)


if __name__ == '__main__':
    sys.exit(main())
