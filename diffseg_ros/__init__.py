"""
Segment images and video with a diffusion model, without classes, prompts or training.

    import diffseg_ros as ds

    pipeline = ds.Pipeline()
    for frame in ds.open_source('video.mp4'):
        result = pipeline.process(frame)
        ds.write_labels(f'labels/{frame.stamp}.png', result.labels)

The names in `__all__` are the public interface; `__init__.pyi` says where each comes from. They
are imported at first use, so that `import diffseg_ros` is fast and needs neither PyTorch nor
ROS.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = '0.2.0'
