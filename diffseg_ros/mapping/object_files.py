"""The files of the objects of a map, one mesh each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffseg_ros.errors import DiffsegError, WriteError
from diffseg_ros.io.ply import write_mesh
from diffseg_ros.mapping.object_mesh import object_mesh
from diffseg_ros.mapping.object_views import ObjectView, ObjectViews


def write_objects(files: Mapping[int, Path], views: ObjectViews, known: Mapping[int, str]
                  ) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Write the meshes of objects into files, both by id, and return what is to be told of them.

    That is a row for the report for each, and a line to print for each mesh. `known` has the
    name, or '', of each id of the map. The row of an object without a mesh has an `error`, and its
    file of an earlier map is removed. Raises WriteError when a file cannot be written.
    """
    rows: list[dict[str, Any]] = []
    lines = []
    for number, file in sorted(files.items()):
        row: dict[str, Any] = {'id': number, 'name': known.get(number, '')}
        try:
            mesh = object_mesh(_views(views, number))
            surface = mesh.surface
            write_mesh(file, surface.vertices, surface.triangles, surface.rgb, mesh.measured)
            row |= {'file': file.name, **mesh.report()}
            size = ' x '.join(f'{side:.2f}' for side in mesh.extents)
            lines.append(f'object {_called(number, known)}: {mesh.views} views, '
                         f'{len(surface.vertices)} vertices, {size} m, {mesh.outcome}, '
                         f'into {file}')
        except WriteError:
            raise
        except DiffsegError as error:
            file.unlink(missing_ok=True)
            row['error'] = str(error)
        rows.append(row)
    return rows, lines


def missing_objects(rows: list[dict[str, Any]], known: Mapping[int, str]) -> str:
    """Return one line on the objects without a mesh, '' where there are none."""
    failed = [row for row in rows if 'error' in row]
    unknown = [str(row['id']) for row in failed if row['id'] not in known]
    reasons = [f'{row["id"]}: {row["error"]}' for row in failed if row['id'] in known]
    if unknown:
        ids = ', '.join(_called(number, known) for number in sorted(known)) or 'none'
        reasons.append(f'{", ".join(unknown)}: no such id in the map; its ids are {ids}')
    return f'--complete {"; ".join(reasons)}' if reasons else ''


def _called(number: int, known: Mapping[int, str]) -> str:
    name = known.get(number)
    return f'{number} ({name})' if name else str(number)


def _views(views: ObjectViews, number: int) -> list[ObjectView]:
    found = views.views(number)
    if not found:
        frames = views.frames(number)
        raise DiffsegError(
            f'none of the {frames} frames with depth and pose that show it has enough measured '
            'depth of it at rest; it is too small, moves, or its depth is predicted' if frames
            else 'it is in no frame with depth and pose')
    return found
