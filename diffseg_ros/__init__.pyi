from .config import PipelineConfig as PipelineConfig
from .errors import DiffsegError as DiffsegError
from .geometry.point_cloud import (
    labelled_cloud as labelled_cloud,
)
from .geometry.point_cloud import (
    LabelledCloud as LabelledCloud,
)
from .io.base import Source as Source
from .io.images import (
    read_image as read_image,
)
from .io.images import (
    read_labels as read_labels,
)
from .io.images import (
    write_image as write_image,
)
from .io.images import (
    write_labels as write_labels,
)
from .io.ply import read_ply as read_ply
from .io.ply import write_ply as write_ply
from .io.source import open_source as open_source
from .pipeline import Pipeline as Pipeline
from .registry import (
    register_backbone as register_backbone,
)
from .registry import (
    register_measure as register_measure,
)
from .registry import (
    register_output as register_output,
)
from .registry import (
    register_segmentation as register_segmentation,
)
from .segmentation.base import SegmentationMethod as SegmentationMethod
from .settings import setting as setting
from .settings import Settings as Settings
from .settings import updated as updated
from .types import (
    Found as Found,
)
from .types import (
    Frame as Frame,
)
from .types import (
    Intrinsics as Intrinsics,
)
from .types import (
    Match as Match,
)
from .types import (
    Result as Result,
)
from .types import (
    SegmentKind as SegmentKind,
)
from .types import (
    Segments as Segments,
)
from .types import (
    Target as Target,
)
from .types import (
    TargetState as TargetState,
)
from .types import (
    Track as Track,
)
from .types import (
    TrackState as TrackState,
)
from .types import (
    UNLABELLED as UNLABELLED,
)
from .viz.overlay import draw_overlay as draw_overlay

__version__: str
