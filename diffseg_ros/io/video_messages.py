"""Video in messages: each holds the code of one picture, which needs the pictures before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from diffseg_ros.errors import DiffsegError
from diffseg_ros.io.messages import (
    deserialise,
    header,
    header_stamp,
    IMAGE,
    image_encoding,
    nanoseconds,
    NO_PICTURE,
    typestore,
    video_codec,
)
from diffseg_ros.io.video import load_av
from diffseg_ros.time_rules import clock_jumped_back
from diffseg_ros.types import RgbImage
import numpy as np

_MOST_DELAYED = 16  # pictures that H.264 and H.265 let a decoder hold back
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)
_NO_KEYFRAME = 'no keyframe before it'
_DOUBTFUL = ('video: a message before was damaged or missing; up to the next keyframe pictures '
             'may show traces of that')
_OUT_OF_ORDER = ('video: the pictures are shown in another order than that of their stamps: '
                 'it has B-frames, and stamps that are not those of the pictures; encode without '
                 'B-frames')

Message = tuple[str, int, bytes]
"""Topic, log time (ns) and CDR bytes."""


def decoded_video(messages: Iterator[Message], topic: str, kind: str,
                  note: Callable[[str], None] = lambda problem: None) -> Iterator[Message]:
    """
    Yield the messages with one sensor_msgs/Image (rgb8) for each of those of a video topic.

    Header and log time are those of the message that held the picture, also where the decoder
    puts pictures in another order (B-frames). Where there is no picture the Image has no size
    and its encoding says why; `decode_colour` raises that. After a jump back in time decoding
    starts at the next keyframe. At most 16 messages are held back. `note` is called with the
    problem of a frame. Raises DiffsegError without PyAV.
    """
    decoder: _Decoder | None = None
    newest: int | None = None
    for name, log_time, data in messages:
        if name != topic:
            yield name, log_time, data
            continue
        try:
            message = deserialise(data, kind)
        except DiffsegError as error:
            top = header(max(0, header_stamp(data) or log_time), '')
            yield topic, log_time, _image(top, f'{NO_PICTURE}{error}')
            continue
        codec, stamp = video_codec(message), nanoseconds(message.header.stamp)
        if decoder and (decoder.codec != codec or clock_jumped_back(newest, stamp)):
            yield from decoder.finish()
            decoder = newest = None
        newest = max(stamp, newest or stamp)
        if codec is None:
            reason = (f'{NO_PICTURE}{image_encoding(message)!r} is not read as video; h264, h265, '
                      'vp8 and vp9 are')
            yield topic, log_time, _image(message.header, reason)
            continue
        decoder = decoder or _Decoder(topic, codec, note)
        yield from decoder.add(log_time, message)
    if decoder:
        yield from decoder.finish()


class _Decoder:
    """Decodes the messages of one stream; their numbers go with them as presentation times."""

    def __init__(self, topic: str, codec: str, note: Callable[[str], None]) -> None:
        self.codec = codec
        self._topic, self._note = topic, note
        self._av = load_av(topic)
        self._context = self._av.CodecContext.create(codec, 'r')
        self._context.thread_count = 1  # several may wait for each other after damage
        self._waiting: dict[int, tuple[int, Any]] = {}
        self._number = self._shown = 0
        self._started = self._doubtful = False

    def add(self, log_time: int, message: Any) -> Iterator[Message]:
        """Yield the images that a message completes, and those that can no more come."""
        self._number += 1
        self._waiting[self._number] = log_time, message.header
        packet = self._av.Packet(bytes(message.data))
        packet.pts = self._number
        # To the decoder an empty packet is the end.
        pictures, reason = (self._decode(packet) if packet.size else
                            ([], 'the message is empty'))
        yield from self._images(pictures)
        if reason:
            yield from self._lost(self._number, self._number, reason)
        yield from self._lost(0, self._number - _MOST_DELAYED)

    def finish(self) -> Iterator[Message]:
        """Yield what is left at the end of the stream."""
        pictures, _ = self._decode(None)
        yield from self._images(pictures)
        yield from self._lost(0, self._number)

    def _decode(self, packet: Any) -> tuple[list[Any], str]:
        """Return the pictures that are complete now, or why there are none."""
        try:
            return self._context.decode(packet), ''
        except self._av.error.FFmpegError as error:
            return [], f'cannot be decoded ({error.strerror})'

    def _images(self, pictures: list[Any]) -> Iterator[Message]:
        for picture in pictures:
            if picture.key_frame:
                # All that was coded before a keyframe is shown before it.
                yield from self._lost(0, picture.pts - 1)
                self._doubtful = False
            self._started = True
            if picture.pts in self._waiting:
                if self._doubtful or picture.is_corrupt:
                    self._note(f'{self._topic}: {_DOUBTFUL}')
                log_time, top = self._waiting.pop(picture.pts)
                stamp = nanoseconds(top.stamp)
                if stamp < self._shown:
                    self._note(f'{self._topic}: {_OUT_OF_ORDER}')
                self._shown = stamp
                yield self._topic, log_time, _image(top, 'rgb8',
                                                    picture.to_ndarray(format='rgb24'))

    def _lost(self, first: int, last: int,
              reason: str = 'those that it needs are missing or damaged') -> Iterator[Message]:
        """Yield images without pixels for the waiting messages of these numbers."""
        for number in [number for number in self._waiting if first <= number <= last]:
            log_time, top = self._waiting.pop(number)
            problem = f'{NO_PICTURE}{reason if self._started else _NO_KEYFRAME}'
            self._doubtful = True
            self._note(f'{self._topic}: {problem}')
            yield self._topic, log_time, _image(top, problem)


def _image(top: Any, encoding: str, pixels: RgbImage = _NO_PIXELS) -> bytes:
    """Return a serialised sensor_msgs/Image."""
    height, width = pixels.shape[:2]
    message = typestore().types[IMAGE](top, height, width, encoding, 0, 3 * width,
                                       np.ascontiguousarray(pixels).reshape(-1))
    return bytes(typestore().serialize_cdr(message, IMAGE))
