"""What all plots share: how their axes look, and how they are written."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from diffseg_ros.io.images import write_bytes


def style_axes(axes: Any, grid: str = 'both') -> None:
    """Draw a light grid behind the data ('x', 'y' or 'both') and no frame above or right."""
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(length=2)
    axes.grid(axis=grid, color='0.92', zorder=0)
    axes.set_axisbelow(True)


def save_figure(figure: Any, path: Path) -> None:
    """Write a Matplotlib figure, or raise DiffsegError; the suffix chooses the format."""
    data = BytesIO()
    figure.savefig(data, format=path.suffix[1:])
    write_bytes(path, data.getvalue())
