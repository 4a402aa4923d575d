"""diffseg_node that segments by colour, and whose depth model knows the hall."""

from __future__ import annotations

from pathlib import Path
import sys

from diffseg_ros.cli.node import main
from diffseg_ros.config import PipelineConfig
from diffseg_ros.pipeline import Pipeline

sys.path += [str(Path(__file__).resolve().parents[1] / part) for part in ('naming', 'depth')]
from hall import frame  # noqa: E402
from stand_in import KnowingModel  # noqa: E402
from stub_naming import ColourBackbone  # noqa: E402

FRAME = frame(tilt=0.0)


def create(config: PipelineConfig, first_id: int) -> Pipeline:
    """Return a pipeline whose models are stand-ins."""
    return Pipeline(config, backbone=ColourBackbone(), depth_model=KnowingModel([FRAME]),
                    first_id=first_id, background=True)


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=create))
