"""Meshes: closed, of the right size, with normals that fit."""

from __future__ import annotations

from diffseg_ros.synthetic import mesh
from diffseg_ros.synthetic.mesh import Mesh
import numpy as np
import pytest

SOLIDS = {
    'box': (mesh.box(0.5, 0.4, 0.3), 0.06),
    'ball': (mesh.ball(0.2), 4 / 3 * np.pi * 0.2**3),
    'torus': (mesh.torus(0.3, 0.1), 2 * np.pi**2 * 0.3 * 0.1**2),
    'cylinder': (mesh.lathe([(0, 0), (0.1, 0), (0.1, 0.5), (0, 0.5)]), np.pi * 0.1**2 * 0.5),
    'cushion': (mesh.cushion(1.0, 1.0, 1.0, 0.05), 1.0),
}


def volume(solid: Mesh) -> float:
    """Return the volume by the divergence theorem."""
    a, b, c = solid.vertices[solid.triangles].astype(float).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize('name', SOLIDS)
def test_solids_have_their_volume_and_unit_normals_on_the_side_of_the_face(name):
    solid, expected = SOLIDS[name]
    assert abs(volume(solid)) == pytest.approx(expected, rel=0.06)
    a, b, c = solid.vertices[solid.triangles].transpose(1, 0, 2)
    face = np.cross(b - a, c - a)
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(solid.normals, axis=-1), 1, atol=1e-4)
    assert ((solid.normals * face[:, None]).sum(axis=-1) > 0.7).all()


def test_a_ball_is_smooth_and_a_box_is_not_and_its_texture_coordinates_are_metres():
    ball, box = mesh.ball(1.0), mesh.box(0.5, 0.4, 0.3)
    direction = ball.vertices[ball.triangles]
    assert (np.abs((ball.normals * direction).sum(axis=-1)) > 0.99).all()
    np.testing.assert_allclose(np.abs(box.normals).max(axis=-1), 1, atol=1e-6)
    corners = box.vertices[box.triangles]
    np.testing.assert_allclose(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1),
                               np.linalg.norm(box.uv[:, 1] - box.uv[:, 0], axis=-1), rtol=1e-5)


def test_rigid_applies_roll_then_pitch_then_yaw():
    turned = mesh.rigid((1, 2, 3), yaw=np.pi / 2, roll=np.pi / 2)
    np.testing.assert_allclose(turned[:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(turned[:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turned[:3, 3], [1, 2, 3])


def test_merged_keeps_every_triangle():
    both = mesh.merged([mesh.box(1, 1, 1), mesh.ball(1.0).translated(5, 0, 0)])
    assert volume(both) == pytest.approx(
        volume(mesh.box(1, 1, 1)) + volume(mesh.ball(1.0)), rel=1e-4)
