"""Where a model runs and in which arithmetic."""

from __future__ import annotations

import re

from diffseg_ros.errors import DiffsegError
import torch


def resolve_device(name: str) -> torch.device:
    """Return the device; 'auto' is CUDA, else the CPU. DiffsegError if unknown or missing."""
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if not re.fullmatch(r'cpu|cuda(:\d+)?', name):
        raise DiffsegError(f'device {name!r}: unknown; use auto, cpu, cuda or cuda:N')
    device = torch.device(name)
    if device.type == 'cuda':
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DiffsegError(f'device {name!r}: PyTorch {torch.__version__} sees {count} CUDA '
                               'devices here; use auto or cpu, or install a CUDA build of PyTorch')
    return device


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype; 'auto' is float16 on CUDA, else float32. DiffsegError if unsupported."""
    if precision == 'auto':
        return torch.float16 if device.type == 'cuda' else torch.float32
    if precision == 'bfloat16' and device.type == 'cuda' and not torch.cuda.is_bf16_supported():
        raise DiffsegError(f'precision bfloat16: {torch.cuda.get_device_name(device)} lacks it; '
                           'use float16 or float32')
    dtype: torch.dtype = getattr(torch, precision)
    return dtype
