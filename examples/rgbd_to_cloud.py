"""
Segment one RGB-D frame of a recording and write its labelled point cloud.

    python examples/rgbd_to_cloud.py recording.mcap cloud.ply

CloudCompare, MeshLab and Open3D show the file; every point has its segment as `label`.
"""

import sys

import diffseg_ros as ds


def main(recording, output):
    """Write the cloud of the first frame that has depth."""
    frame = next(frame for frame in ds.open_source(recording) if frame.depth is not None)
    segments = ds.Pipeline().segment(frame)
    cloud = ds.labelled_cloud(frame, segments.labels)
    ds.write_ply(output, cloud)
    print(f'{segments.labels.max() + 1} segments, {len(ds.read_ply(output))} points, in {output}')


if __name__ == '__main__':
    main(*sys.argv[1:])
