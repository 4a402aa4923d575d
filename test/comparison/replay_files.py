"""Folders as replays leave them, with labels that a test knows."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path

from diffseg_ros.io.images import write_image, write_labels
import numpy as np
import numpy.typing as npt


def strips(*widths: int, ids: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return 20 rows of labels: upright strips of these widths and ids, from left to right."""
    return np.tile(np.repeat(np.array(ids, np.int32), widths), (20, 1))


def write_replay(folder: Path, frames: Mapping[int, npt.NDArray[np.int32]], *,
                 names: Mapping[int, str] | None = None, total_ms: float | None = None,
                 source: str = 'drive', overlays: bool = False) -> Path:
    """Write labels by frame number, names.csv and report.json as diffseg_replay does."""
    for number, labels in frames.items():
        write_labels(folder / 'labels' / f'{number:06d}.png', labels)
        if overlays:
            rgb = np.full((*labels.shape, 3), 120, np.uint8)
            write_image(folder / 'overlay' / f'{number:06d}.jpg', rgb)
    if names is not None:
        rows = [f'{identity},1,{name},0.9,object\n' for identity, name in names.items()]
        (folder / 'names.csv').write_text('id,class_id,name,score,kind\n' + ''.join(rows))
    if total_ms is not None:
        times = {stage: {'p50': value, 'p95': value, 'mean': value}
                 for stage, value in (('tracking', total_ms / 4), ('total', total_ms))}
        (folder / 'report.json').write_text(json.dumps({'source': source, 'latency_ms': times}))
    return folder
