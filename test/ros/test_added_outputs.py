"""Output topics that others add: by a file that starts the node, and by an entry point."""

from __future__ import annotations

import os
from pathlib import Path

import node_rig
from std_msgs.msg import Int32, UInt32

ROOT = Path(__file__).resolve().parents[2]


def received(rig, topic, kind):
    """Return what the topic of a running node says of one image."""
    client = rig.client
    got = []
    client.node.create_subscription(kind, f'/diffseg/{topic}', got.append, 10)
    client.until(lambda: client.node.count_publishers(f'/diffseg/{topic}'))
    client.ready()
    client.send(0)
    client.until(lambda: got)
    return got[0].data


def test_an_example_adds_an_output_to_the_node(rig):
    rig.start(program=(str(ROOT / 'examples' / 'own_output.py'),))
    assert received(rig, 'largest', Int32) >= 1


def test_an_installed_package_adds_an_output_to_the_node(rig, plugin_site, monkeypatch):
    monkeypatch.setattr(node_rig, 'ROOT', f'{plugin_site}{os.pathsep}{ROOT}')
    rig.start('-p', 'outputs.track_count.lost_too:=false')
    assert received(rig, 'track_count', UInt32) == 0
