"""The loss log of a training run, as CSV and as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from diffseg_ros.errors import DiffsegError

COLUMNS = ('samples', 'seconds', 'learning_rate', 'train_loss', 'heldout_loss')


def append_row(path: Path, row: dict[str, float]) -> None:
    """Append one row of COLUMNS to the CSV, with a header if the file is new."""
    new = not path.is_file()
    with path.open('a', newline='') as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow({key: f'{row[key]:.6g}' for key in COLUMNS})


def read_rows(path: Path) -> list[dict[str, float]]:
    """
    Return the rows of the CSV.

    Raises
    ------
    DiffsegError
        It is damaged.

    """
    try:
        with path.open(newline='') as handle:
            return [{key: float(row[key]) for key in COLUMNS} for row in csv.DictReader(handle)]
    except (KeyError, TypeError, ValueError) as error:
        raise DiffsegError(f'{path}: damaged ({type(error).__name__}: {error}); remove it, and '
                           'the log begins anew') from error


def draw_curve(log: Path, picture: Path) -> None:
    """
    Draw training and held-out loss against samples seen, both axes logarithmic.

    Raises
    ------
    DiffsegError
        The log is damaged.

    """
    rows = read_rows(log)
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=110)
    samples = [max(row['samples'], 1) for row in rows]
    axes.plot(samples, [row['train_loss'] for row in rows], color='0.7', label='training')
    axes.plot(samples, [row['heldout_loss'] for row in rows], color='C0', label='held out (EMA)')
    axes.set(xscale='log', yscale='log', xlabel='samples', ylabel='denoising loss (v)')
    axes.grid(True, which='both', alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture)
    pyplot.close(figure)
