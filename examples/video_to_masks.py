"""
Segment a video into masks whose ids persist, and draw them.

    python examples/video_to_masks.py video.mp4 out

Any recording works in place of the video: a folder of images, a sequence folder, a bag.
"""

from pathlib import Path
import sys

import diffseg_ros as ds


def main(video, output):
    """Write NNNNNN.png (16-bit ids) and NNNNNN.jpg (overlay) for every frame."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    pipeline = ds.Pipeline()
    for number, frame in enumerate(ds.open_source(video)):
        result = pipeline.process(frame)
        ds.write_labels(output / f'{number:06d}.png', result.labels)
        ds.write_image(output / f'{number:06d}.jpg', ds.draw_overlay(frame.rgb, result.labels))
    print(f'{pipeline.track_count} tracks, into {output}')


if __name__ == '__main__':
    main(*sys.argv[1:])
