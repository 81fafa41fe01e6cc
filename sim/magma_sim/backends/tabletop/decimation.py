"""Fewer triangles for the robot's images: vertex clustering on a grid.

The Panda's visual meshes have 135 000 triangles, most of them far smaller than a pixel. A software renderer spends
nearly all of its time on them (measured: 40 ms of a 45 ms frame), so vertices are merged per grid cell, as in
Rossignac and Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993.
"""

from __future__ import annotations

import numpy as np
import sapien
from numpy.typing import NDArray


def cluster_vertices(
    vertices: NDArray[np.float32], triangles: NDArray[np.uint32], normals: NDArray[np.float32], cell_m: float
) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.float32]]:
    """Merges all vertices of one grid cell with like-facing normals into their mean; drops collapsed triangles.

    Args:
        vertices: (N, 3) m; triangles: (M, 3) indices; normals: (N, 3) per vertex; cell_m: edge of a grid cell.

    Returns:
        vertices (K, 3), triangles (L, 3) and unit normals (K, 3) with K <= N and L <= M.
    """
    # The dominant direction of the normal is part of the key, so that both sides of a thin wall stay apart.
    dominant = np.abs(normals).argmax(axis=1)
    facing = 2 * dominant + (normals[np.arange(len(normals)), dominant] < 0)
    keys = np.concatenate([np.floor(vertices / cell_m).astype(np.int64), facing[:, None]], axis=1)
    _, cluster = np.unique(keys, axis=0, return_inverse=True)
    cluster = cluster.ravel()
    count = int(cluster.max()) + 1
    members = np.bincount(cluster, minlength=count)[:, None]
    merged_vertices = np.stack([np.bincount(cluster, vertices[:, k], count) for k in range(3)], axis=1) / members
    merged_normals = np.stack([np.bincount(cluster, normals[:, k], count) for k in range(3)], axis=1)
    merged_normals = merged_normals / np.maximum(np.linalg.norm(merged_normals, axis=1, keepdims=True), 1e-9)
    merged = cluster[triangles.astype(np.int64)]
    distinct = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    merged = merged[distinct]
    if len(merged):
        _, first = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
        merged = merged[np.sort(first)]
    return merged_vertices.astype(np.float32), merged.astype(np.uint32), merged_normals.astype(np.float32)


def decimate_robot(robot: sapien.physx.PhysxArticulation, cell_m: float) -> int:
    """Replaces the visual meshes of every link by clustered ones; colours and poses stay.

    Returns:
        number of triangles that the robot has afterwards.
    """
    total = 0
    for link in robot.links:
        body = link.entity.find_component_by_type(sapien.render.RenderBodyComponent)
        if body is None:
            continue
        replacement = sapien.render.RenderBodyComponent()
        replacement.name = body.name
        for shape in body.render_shapes:
            if not isinstance(shape, sapien.render.RenderShapeTriangleMesh):
                continue
            for part in shape.parts:
                vertices, triangles, normals = cluster_vertices(
                    part.vertices * shape.scale, part.triangles, part.get_vertex_normal(), cell_m
                )
                if not len(triangles):
                    continue
                total += len(triangles)
                uvs = np.zeros((len(vertices), 2), dtype=np.float32)
                mesh = sapien.render.RenderShapeTriangleMesh(vertices, triangles, normals, uvs, part.material)
                mesh.set_local_pose(shape.local_pose)
                replacement.attach(mesh)
        link.entity.remove_component(body)
        link.entity.add_component(replacement)
    return total
