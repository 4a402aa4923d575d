"""How depth models are run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffseg_ros.errors import DiffsegError
import torch


@contextmanager
def reproducible_inference(name: str, device: torch.device) -> Iterator[None]:
    """
    Let the block compute the same each time, without gradients.

    Raises DiffsegError, which names the model, where the device is out of memory.
    """
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True):
            yield
    except torch.OutOfMemoryError as error:
        raise DiffsegError(f'depth model {name}: out of memory on {device}; set '
                           'backbone.precision to float16, or use a smaller model') from error
