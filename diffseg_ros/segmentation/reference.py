"""The published algorithms in their literal forms, to check and to time the fast ones against."""

from diffseg_ros.segmentation.reference_cut import reference_cut
from diffseg_ros.segmentation.reference_merging import (
    reference_aggregation,
    reference_labels,
    reference_merging,
)

__all__ = ['reference_aggregation', 'reference_cut', 'reference_labels', 'reference_merging']
