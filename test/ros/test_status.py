"""The sentence of the diagnostics fits the situation."""

from __future__ import annotations

from dataclasses import replace

from diffseg_ros.ros.status import ERROR, explain, OK, Situation, WARN
import pytest

GOOD = Situation(state='active', image_topic='/rgb/image_raw', silence='why', images=9,
                 subscribed=True, points_subscribed=True, input_rate=10.0, output_rate=4.0)


@pytest.mark.parametrize(('change', 'level', 'part'), [
    ({}, OK, 'processing 4.0 Hz out of 10.0 Hz'),
    ({'state': 'unconfigured', 'failed_step': 'loading', 'step_error': 'no such folder'}, ERROR,
     'model not loaded because: no such folder; correct the parameter and configure again'),
    ({'state': 'unconfigured', 'failed_step': 'configuring', 'step_error': 'no mask'}, ERROR,
     'not configured because: no mask; correct the parameter and configure again'),
    ({'state': 'inactive', 'failed_step': 'activating', 'step_error': 'bad QoS'}, ERROR,
     'not activated because: bad QoS; correct the parameter and activate again'),
    ({'failed_step': 'activating'}, OK, 'processing'),
    ({'state': 'unconfigured'}, WARN, 'not configured'),
    ({'state': 'configuring'}, OK, 'loading'),
    ({'state': 'inactive'}, WARN, 'not active'),
    ({'state': 'finalized'}, OK, 'shut down'),
    ({'enabled': False}, WARN, 'disabled'),
    ({'images': 0, 'silence': 'nobody publishes it', 'seconds_waited': 12.4}, WARN,
     'no image yet on /rgb/image_raw for 12 s: nobody publishes it'),
    ({'busy_seconds': 12.0}, ERROR, 'in processing for 12 s'),
    ({'images': 0, 'seconds_waited': 0.5}, OK, 'no image yet'),
    ({'seconds_waited': 7.0, 'failure': 'old'}, WARN, 'no more images on /rgb/image_raw for 7 s'),
    ({'refused': 'duplicate'}, WARN, 'carry the same stamp'),
    ({'refused': 'late'}, WARN, 'stamped before their predecessors'),
    ({'subscribed': False, 'failure': 'old'}, OK, 'nobody subscribes'),
    ({'failure': "encoding 'x'"}, ERROR, "the last image failed: encoding 'x'"),
    ({'restless': True}, WARN, 'does more than one publisher use this topic?'),
    ({'unencodable': 3}, WARN, '3 ids have no value in 16UC1'),
    ({'unencodable': 3, 'labels_encoding': '32SC1', 'label_pool_size': 20}, WARN,
     '3 ids are unlabelled because all 20 values of label_pool_size are in use: raise it'),
    ({'cloud_trouble': 'no depth on /d'}, WARN, 'masks without clouds at 4.0 Hz'),
    ({'cloud_trouble': 'no depth on /d', 'points_subscribed': False}, OK, 'no depth on /d')])
def test_sentence(change, level, part):
    got_level, sentence = explain(replace(GOOD, **change))
    assert got_level == level
    assert part in sentence
    assert '\n' not in sentence
