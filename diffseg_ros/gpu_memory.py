"""The memory of a GPU; PyTorch is asked only where something has imported it already."""

from __future__ import annotations

import gc
import sys
from typing import Any


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Return whether an exception says that the memory of the GPU is full."""
    torch = _torch()
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def release_gpu_memory() -> None:
    """Give back the GPU memory that PyTorch keeps of what is no longer used."""
    torch = _torch()
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def gpu_memory(device: str) -> dict[str, str]:
    """Return megabytes that PyTorch holds on a CUDA device, now and at most; {} elsewhere."""
    torch = _torch()
    if torch is None or not device.startswith('cuda'):
        return {}
    return {'gpu_memory_mb': f'{torch.cuda.memory_allocated(device) / 1e6:.0f}',
            'gpu_memory_peak_mb': f'{torch.cuda.max_memory_allocated(device) / 1e6:.0f}'}


def _torch() -> Any:
    return sys.modules.get('torch')
