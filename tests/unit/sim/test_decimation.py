"""Vertex clustering keeps a shape and drops what is too small to see."""

import numpy as np

from magma_sim.backends.tabletop.decimation import cluster_vertices


def sphere(rings: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings), indexing="ij")
    normals = np.stack(
        [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1
    ).reshape(-1, 3)
    index = np.arange(rings * rings).reshape(rings, rings)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return (normals * radius).astype(np.float32), triangles.astype(np.uint32), normals.astype(np.float32)


def test_fewer_triangles_same_shape() -> None:
    vertices, triangles, normals = sphere(120, 0.05)
    fewer, faces, directions = cluster_vertices(vertices, triangles, normals, 0.006)
    assert len(faces) < len(triangles) / 8
    assert faces.max() < len(fewer)
    radius = np.linalg.norm(fewer, axis=1)
    assert (np.abs(radius - 0.05) < 0.002).all()
    assert (np.einsum("ij,ij->i", fewer / radius[:, None], directions) > 0.9).all()


def test_both_sides_of_a_thin_wall_stay_apart() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float32) * 0.1
    vertices = np.concatenate([square, square + np.float32([0, 0, 0.0005])])
    normals = np.repeat(np.float32([[0, 0, -1], [0, 0, 1]]), 4, axis=0)
    triangles = np.uint32([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]])
    fewer, faces, _ = cluster_vertices(vertices, triangles, normals, 0.006)
    assert len(fewer) == 8 and len(faces) == 4
