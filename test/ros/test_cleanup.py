"""Cleaning the node up lets go of the model, on the GPU too."""

from __future__ import annotations

import sys
from types import SimpleNamespace
import weakref

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
from diffseg_ros.gpu_memory import release_gpu_memory  # noqa: E402
from diffseg_ros.ros.node import SegmentationNode  # noqa: E402
from node_rig import own_domain  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402


class Model:
    """A pipeline that only the garbage collector can free, as models with hooks are."""

    def __init__(self) -> None:
        self.backbone = SimpleNamespace(name='model', device='cpu')
        self.model = {'device': 'cpu', 'model': 'model', 'model_kind': 'other',
                      'model_settings': ''}
        self.track_count, self.next_id = 0, 1
        self.hook = self


def fake_torch(monkeypatch: pytest.MonkeyPatch, *, initialized: bool, empty_cache) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: initialized, empty_cache=empty_cache,
                           OutOfMemoryError=MemoryError)
    monkeypatch.setitem(sys.modules, 'torch', SimpleNamespace(cuda=cuda))


def test_memory_of_the_gpu_is_given_back_once_the_model_is_gone(monkeypatch):
    models: list[weakref.ref] = []
    alive_then: list[bool] = []

    def load(*_: object) -> Model:
        model = Model()
        models.append(weakref.ref(model))
        return model

    fake_torch(monkeypatch, initialized=True,
               empty_cache=lambda: alive_then.append(models[0]() is not None))
    context = Context()
    with own_domain() as domain:
        rclpy.init(context=context, domain_id=domain)
        node = SegmentationNode(pipeline_factory=load, context=context)
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert models[0]() is not None and not alive_then
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            assert alive_then == [False]
        finally:
            node.destroy_node()
            context.shutdown()


def test_a_gpu_that_was_never_used_is_left_alone(monkeypatch):
    fake_torch(monkeypatch, initialized=False, empty_cache=lambda: pytest.fail('it was touched'))
    release_gpu_memory()
    monkeypatch.delitem(sys.modules, 'torch')
    release_gpu_memory()
