"""
Fuse a posed RGB-D recording into one labelled map.

    python examples/bag_to_map.py recording.mcap map.ply

The recording needs depth, camera_info and the camera's poses: tf in a bag, poses.txt in a sequence
folder. `diffseg_map` does the same with more options.
"""

import sys

import diffseg_ros as ds
from diffseg_ros.mapping.builder import MapBuilder


def main(recording, output):
    """Write the voxels that at least two frames saw, each with its most frequent label."""
    builder = MapBuilder(ds.PipelineConfig(), voxel_size=0.02)
    for frame in ds.open_source(recording):
        builder.add(frame)
    fused = builder.fused(recording, min_observations=2)
    ds.write_ply(output, fused.cloud)
    print(f'{len(fused.cloud.points)} voxels, into {output}')


if __name__ == '__main__':
    main(*sys.argv[1:])
