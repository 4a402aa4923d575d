"""diffseg_node that segments by colour, and names by it."""

from __future__ import annotations

from pathlib import Path
import sys

from diffseg_ros import pipeline as pipeline_module
from diffseg_ros.cli.node import main
from diffseg_ros.config import PipelineConfig
from diffseg_ros.pipeline import Pipeline

sys.path.append(str(Path(__file__).resolve().parents[1] / 'naming'))
from stub_naming import ColourBackbone, ColourModel  # noqa: E402


def create(config: PipelineConfig, first_id: int) -> Pipeline:
    """Return a pipeline whose models are stubs."""
    pipeline_module.load_naming_model = lambda *_: ColourModel()
    return Pipeline(config, backbone=ColourBackbone(), first_id=first_id, background=True)


if __name__ == '__main__':
    sys.exit(main(pipeline_factory=create))
