"""Exceptions in words, and what can be done about a full GPU."""

from __future__ import annotations

import gc
import re
import sys
from typing import Any

from diffseg_ros.errors import DiffsegError


def describe_error(error: BaseException) -> str:
    """Return an exception as one line that says what to do, as far as that is known."""
    reason = ' '.join(str(error).split())
    if isinstance(error, DiffsegError) and reason:
        return reason
    if _is_gpu_memory(error):
        return ('GPU out of memory; lower backbone.tokens, set backbone.precision to float16, or '
                f'end what else uses the GPU ({reason})')
    return f'{type(error).__name__}: {reason}' if reason else type(error).__name__


def without_numbers(sentence: str) -> str:
    """Return a sentence by which it is known again when its decimal numbers have changed."""
    return re.sub(r'[-+]?\d+(\.\d+)?', 'N', sentence)


def out_of_gpu_memory(error: BaseException) -> bool:
    """Return whether `error` is that, and if so give PyTorch's cached memory back."""
    if not _is_gpu_memory(error):
        return False
    _torch().cuda.empty_cache()
    return True


def release_gpu_memory() -> None:
    """Give back the GPU memory that PyTorch keeps of what is not used any more."""
    torch = _torch()
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def gpu_memory(device: str) -> dict[str, str]:
    """Return megabytes that PyTorch holds on a CUDA device, now and at most; {} elsewhere."""
    if not device.startswith('cuda') or _torch() is None:
        return {}
    cuda = _torch().cuda
    return {'gpu_memory_mb': f'{cuda.memory_allocated(device) / 1e6:.0f}',
            'gpu_memory_peak_mb': f'{cuda.max_memory_allocated(device) / 1e6:.0f}'}


def process_memory() -> dict[str, str]:
    """Return the megabytes of main memory of this process; {} where the system does not say."""
    try:
        with open('/proc/self/status') as file:
            lines = dict(line.split(':', 1) for line in file)
        return {'memory_mb': f'{int(lines["VmRSS"].split()[0]) / 1024:.0f}'}
    except (OSError, KeyError, ValueError):
        return {}


def _is_gpu_memory(error: BaseException) -> bool:
    torch = _torch()
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _torch() -> Any:
    """Return PyTorch if something has loaded it: the node answers before it is there."""
    return sys.modules.get('torch')
