"""Labelled clouds and meshes as binary PLY files, which Open3D, CloudCompare and MeshLab read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from diffseg_ros.errors import DiffsegError
from diffseg_ros.geometry.point_cloud import LabelledCloud
from diffseg_ros.io.images import read_bytes, write_bytes
import numpy as np
import numpy.typing as npt

_FIELDS = {'x': 'float', 'y': 'float', 'z': 'float', 'red': 'uchar', 'green': 'uchar',
           'blue': 'uchar', 'label': 'int'}
_DEPTH_CONFIDENCE = 'depth_confidence'
_TYPES = {'char': 'i1', 'uchar': 'u1', 'short': '<i2', 'ushort': '<u2', 'int': '<i4',
          'uint': '<u4', 'float': '<f4', 'double': '<f8', 'int8': 'i1', 'uint8': 'u1',
          'int32': '<i4', 'uint32': '<u4', 'float32': '<f4', 'float64': '<f8'}


def write_ply(path: str | Path, cloud: LabelledCloud,
              confidence: npt.NDArray[np.float32] | None = None) -> int:
    """
    Write all valid points with colour and label, and return how many there are.

    `confidence` is that of each label, 0 to 1, in the shape of `cloud.labels`; that of the cloud
    becomes the property depth_confidence. Missing folders are made, and the file appears whole or
    not at all.

    Raises
    ------
    DiffsegError
        The file cannot be written.

    """
    listed = cloud.compact()
    fields, columns = dict(_FIELDS), [*listed.points.T, *listed.rgb.T, listed.labels]
    if confidence is not None:
        fields['confidence'] = 'float'
        columns.append(confidence[cloud.valid])
    if listed.confidence is not None:
        fields[_DEPTH_CONFIDENCE] = 'float'
        columns.append(listed.confidence)
    vertices = np.rec.fromarrays(columns, [(name, _TYPES[kind]) for name, kind in fields.items()])
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(listed)}',
              *(f'property {kind} {name}' for name, kind in fields.items()), 'end_header\n']
    write_bytes(Path(path), '\n'.join(header).encode(), vertices.tobytes())
    return len(listed)


def write_mesh(path: Path, vertices: npt.NDArray[np.floating],
               triangles: npt.NDArray[np.integer], rgb: npt.NDArray[np.uint8],
               measured: npt.NDArray[np.bool_]) -> None:
    """
    Write a mesh whose vertices know whether they were measured, as binary PLY.

    `vertices` are (V, 3) metres, `triangles` (T, 3) their numbers, `rgb` (V, 3), and `measured`
    (V,) becomes a property that is 1 or 0. The file appears whole or not at all; raises
    DiffsegError when it cannot be written.
    """
    fields = {name: kind for name, kind in _FIELDS.items() if name != 'label'}
    fields['measured'] = 'uchar'
    table = np.rec.fromarrays([*vertices.T, *rgb.T, measured],
                              [(name, _TYPES[kind]) for name, kind in fields.items()])
    faces = np.rec.fromarrays([np.full(len(triangles), 3), triangles],
                              [('count', 'u1'), ('corners', '<i4', 3)])
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(table)}',
              *(f'property {kind} {name}' for name, kind in fields.items()),
              f'element face {len(faces)}', 'property list uchar int vertex_indices',
              'end_header\n']
    write_bytes(path, '\n'.join(header).encode(), table.tobytes(), faces.tobytes())


def read_ply(path: str | Path) -> LabelledCloud:
    """
    Read the vertices of a binary PLY file as a list of labelled points.

    Raises
    ------
    DiffsegError
        The file is not a whole binary PLY file, or lacks coordinates, colours or labels.

    """
    data = read_bytes(Path(path))
    file = BytesIO(data)
    count, vertex = _read_header(file, path)
    whole = min(count, (len(data) - file.tell()) // max(vertex.itemsize, 1))
    if whole < count:
        raise DiffsegError(f'cloud {path}: cut off, {whole} of {count} points; write it again')
    missing = [name for name in _FIELDS if name not in (vertex.names or ())]
    if missing:
        raise DiffsegError(f'cloud {path}: no {", ".join(missing)}; points with '
                           f'{", ".join(_FIELDS)} are needed')
    vertices = np.frombuffer(data, vertex, count, file.tell())
    columns = [vertices[name] for name in _FIELDS]
    return LabelledCloud(np.stack(columns[:3], axis=-1).astype(np.float32, copy=False),
                         np.stack(columns[3:6], axis=-1).astype(np.uint8, copy=False),
                         columns[6].astype(np.int32),
                         vertices[_DEPTH_CONFIDENCE].astype(np.float32)
                         if _DEPTH_CONFIDENCE in (vertex.names or ()) else None)


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
