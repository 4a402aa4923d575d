"""Loading models of transformers: quiet, whole, and with one line where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffseg_ros.error_text import describe_error
from diffseg_ros.errors import DiffsegError
import torch
from transformers.utils import logging


def load_transformers_model(kind: Any, path: Path, dtype: torch.dtype, *,
                            never_computed: str = 'position_ids', **source: Any) -> Any:
    """
    Return a model of a class `kind` on the CPU, ready for inference.

    `source` are arguments of its `from_pretrained`, `path` is what errors tell of. Raises
    DiffsegError where the weights cannot be read, or some are missing that do not have
    `never_computed` in their name.
    """
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        model, info = kind.from_pretrained(**source, dtype=dtype, output_loading_info=True)
    except Exception as error:  # its own, the hub client's, safetensors' and OS errors
        reason = str(error).strip().splitlines() or [describe_error(error)]
        raise DiffsegError(f'model folder {path}: cannot be loaded ({reason[0]}); download it '
                           'again') from error
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
    missing = sorted(key for key in info['missing_keys'] if never_computed not in key)
    if missing:
        raise DiffsegError(f'model folder {path}: weights lack {len(missing)} tensors, such as '
                           f'{missing[0]}; download it again')
    return model.eval()
