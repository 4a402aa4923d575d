"""The published algorithms in their literal forms, to check and to time the fast ones against."""

from studies.reference_cut import reference_cut
from studies.reference_merging import (
    reference_aggregation,
    reference_labels,
    reference_merging,
)

__all__ = ['reference_aggregation', 'reference_cut', 'reference_labels', 'reference_merging']
