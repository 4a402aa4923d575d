"""What a training run may spend, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass
import math

from diffseg_ros.errors import DiffsegError

NEW_RATE = 1e-3
"""Peak learning rate of a model that begins untrained."""
RESUMED_RATE = 2e-4
"""Peak learning rate of a model that goes on: a higher one undoes part of what was learnt."""


@dataclass(frozen=True)
class TrainingSettings:
    """
    What a training run may spend and how fast it learns.

    Attributes
    ----------
    minutes
        Wall time to spend; the learning rate falls to a tenth along a cosine over it.
    learning_rate
        Peak of AdamW's; None is `NEW_RATE`, or `RESUMED_RATE` where a model goes on.
    warmup_steps
        Steps over which the rate of a model without optimiser state rises to that, or a tenth of
        the time where that is shorter.
    ema_decay
        Share of the average that a step keeps.
    batch
        Crops of 96x128 pixels in one batch; of smaller crops there are as many more. None is 16
        on a CPU and 64 on a GPU, which fewer would leave idle.
    report_seconds
        Time between checkpoints.
    heldout_samples
        Crops that the held-out loss is measured on.
    precision
        'auto', 'bf16' or 'fp32' arithmetic; weights and optimiser are always float32.
    seed
        Of the first weights and of the crops.

    """

    minutes: float
    learning_rate: float | None = None
    warmup_steps: int = 200
    ema_decay: float = 0.999
    batch: int | None = None
    report_seconds: float = 120.0
    heldout_samples: int = 128
    precision: str = 'auto'
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values no run can use."""
        for name in ('minutes', 'learning_rate', 'report_seconds'):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise DiffsegError(f'{name.replace("_", " ")} {value}: a finite number above 0 '
                                   'is needed')
        if self.batch is not None and self.batch < 1:
            raise DiffsegError(f'batch {self.batch}: at least 1 crop is needed')
        if self.precision not in ('auto', 'bf16', 'fp32'):
            raise DiffsegError(f'precision {self.precision!r}: choose auto, bf16 or fp32')
        if not 0 <= self.seed < 2**32:
            raise DiffsegError(f'seed {self.seed}: a whole number from 0 to {2**32 - 1} is '
                               'needed')


@dataclass(frozen=True)
class TrainingReport:
    """
    One line of progress.

    Attributes
    ----------
    samples, seconds
        Crops seen and time spent since the model began, over all its runs.
    seconds_left
        Of this run.
    samples_per_second
        Since the line before.
    learning_rate
        Of the last step, NaN before the first.
    train_loss
        Mean since the line before, NaN where there was no step.
    heldout_loss
        Of the averaged weights.
    skipped
        Steps since the line before whose gradient was not finite: they changed nothing.

    """

    samples: int
    seconds: float
    seconds_left: float
    samples_per_second: float
    learning_rate: float
    train_loss: float
    heldout_loss: float
    skipped: int = 0
