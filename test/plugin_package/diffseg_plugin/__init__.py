"""A third party's package: one file for each thing that can be added to diffseg_ros."""
