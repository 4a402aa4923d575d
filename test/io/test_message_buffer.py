from diffseg_ros.io.message_buffer import MessageBuffer
import pytest


def filled(*stamps, capacity=32):
    buffer = MessageBuffer(capacity)
    for stamp in stamps:
        buffer.add(stamp, str(stamp))
    return buffer


@pytest.mark.parametrize(('stamp', 'tolerance', 'found'), [
    (20, 0, '20'), (21, 0, None), (21, 1, '20'), (15, 5, '10'), (26, 4, '30'), (5, 4, None),
    (100, 70, '30')])
def test_exact_before_nearest_and_the_earlier_of_two(stamp, tolerance, found):
    assert filled(10, 20, 30).find(stamp, tolerance) == found


def test_last_message_before_a_stamp():
    buffer = filled(10, 30, 20)
    assert [buffer.find_last(stamp) for stamp in (9, 10, 29, 99)] == [None, '10', '20', '30']
    assert (buffer.newest, buffer.offset(27), filled().offset(27)) == (30, 3, None)


def test_memory_is_bounded_and_can_be_discarded():
    buffer = filled(*range(10), capacity=4)
    assert len(buffer) == 4 and buffer.find(5) is None and buffer.find(6) == '6'
    buffer.discard(before=7, after=8)
    assert len(buffer) == 2 and buffer.find(7) == '7' and buffer.find(9) is None


def test_time_jump_drops_what_came_before():
    buffer = filled(0, 900_000_000, 400_000_000)
    assert len(buffer) == 3
    buffer.add(399_999_999, 'new')
    assert (len(buffer), buffer.newest, buffer.find_last(10**9)) == (1, 399_999_999, 'new')
