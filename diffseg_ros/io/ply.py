"""Labelled clouds as binary PLY files, which Open3D, CloudCompare and MeshLab read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.images import read_bytes, write_bytes
import numpy as np
import numpy.typing as npt

_VERTEX = np.dtype([('point', '<f4', 3), ('rgb', 'u1', 3), ('label', '<i4')])
_NAMES = ('x', 'y', 'z', 'red', 'green', 'blue', 'label')
_TYPES = {'char': 'i1', 'uchar': 'u1', 'short': '<i2', 'ushort': '<u2', 'int': '<i4',
          'uint': '<u4', 'float': '<f4', 'double': '<f8', 'int8': 'i1', 'uint8': 'u1',
          'int32': '<i4', 'uint32': '<u4', 'float32': '<f4', 'float64': '<f8'}
_HEADER = """ply
format binary_little_endian 1.0
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
property int label
"""


def write_ply(path: str | Path, cloud: LabelledCloud,
              confidence: npt.NDArray[np.float32] | None = None) -> int:
    """
    Write all valid points with colour and label, and return how many there are.

    The file appears whole or not at all. A cloud without valid points gives a file with none.

    Parameters
    ----------
    path
        Missing folders are made.
    cloud
        Organised or a list.
    confidence
        Of each label, 0 to 1, in the shape of `cloud.labels`; the property `confidence`.

    Raises
    ------
    DiffsegError
        The file cannot be written.

    """
    listed = cloud.compact()
    vertex, header = _VERTEX, _HEADER
    if confidence is not None:
        vertex = np.dtype([*_VERTEX.descr, ('confidence', '<f4')])
        header += 'property float confidence\n'
    vertices = np.empty(len(listed.labels), vertex)
    vertices['point'], vertices['rgb'] = listed.points, listed.rgb
    vertices['label'] = listed.labels
    if confidence is not None:
        vertices['confidence'] = confidence[cloud.valid]
    header = header.format(count=len(vertices)) + 'end_header\n'
    write_bytes(Path(path), header.encode(), vertices.tobytes())
    return len(vertices)


def read_ply(path: str | Path) -> LabelledCloud:
    """
    Read the vertices of a binary PLY file as a list of labelled points.

    Raises
    ------
    DiffsegError
        The file does not exist, is not a whole binary PLY file, or lacks coordinates, colours
        or labels.

    """
    data = read_bytes(Path(path))
    file = BytesIO(data)
    count, vertex = _read_header(file, path)
    whole = min(count, (len(data) - file.tell()) // max(vertex.itemsize, 1))
    if whole < count:
        raise DiffsegError(f'cloud {path}: cut off, {whole} of {count} points; write it again')
    missing = [name for name in _NAMES if name not in (vertex.names or ())]
    if missing:
        raise DiffsegError(f'cloud {path}: no {", ".join(missing)}; points with '
                           f'{", ".join(_NAMES)} are needed')
    vertices = np.frombuffer(data, vertex, count, file.tell())
    x, y, z, red, green, blue, label = (vertices[name] for name in _NAMES)
    return LabelledCloud(np.stack([x, y, z], axis=-1).astype(np.float32, copy=False),
                         np.stack([red, green, blue], axis=-1).astype(np.uint8, copy=False),
                         label.astype(np.int32))


def _read_header(file: BinaryIO, path: str | Path) -> tuple[int, np.dtype[np.void]]:
    count, fields = 0, []
    element = ''
    if file.readline(16).strip() != b'ply':
        raise DiffsegError(f'cloud {path}: no PLY file; give one written by diffseg_ros')
    while (words := file.readline(256).decode('ascii', 'replace').split()) != ['end_header']:
        match words:
            case ['format', name, _] if name != 'binary_little_endian':
                raise DiffsegError(f'cloud {path}: format {name}; binary_little_endian is '
                                   'supported, convert the file')
            case ['element', element, number] if element == 'vertex':
                count = int(number)
            case ['property', kind, name] if element == 'vertex' and kind in _TYPES:
                fields.append((name, _TYPES[kind]))
            case ['property', *_] if element == 'vertex':
                raise DiffsegError(f'cloud {path}: vertex property {" ".join(words[1:])}; '
                                   f'{", ".join(_TYPES)} are supported')
            case []:
                raise DiffsegError(f'cloud {path}: header without an end; write it again')
    return count, np.dtype(fields)
