"""`python -m magma_sim.render_check`: renders one image and says on which device; exit status 1 with the remedy."""

from __future__ import annotations

import sys

import numpy as np
import sapien

from magma_sim.backends.shared.rendering import REMEDY, RenderingUnavailableError, choose_render_device, use_fast_shader


def render_test_image(device: sapien.Device) -> np.ndarray:
    """A red box in front of a camera: (32, 32, 3) RGB uint8.

    Raises:
        RuntimeError: the device's driver lacks something that SAPIEN's renderer needs (as Mesa before 23.1 does).
    """
    use_fast_shader()
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(device)])
    scene.set_ambient_light([1.0, 1.0, 1.0])
    box = sapien.Entity()
    visual = sapien.render.RenderBodyComponent()
    visual.attach(sapien.render.RenderShapeBox([0.2, 0.2, 0.2], sapien.render.RenderMaterial(base_color=[1, 0, 0, 1])))
    box.add_component(visual)
    box.set_pose(sapien.Pose([1.0, 0.0, 0.0]))
    scene.add_entity(box)
    camera = scene.add_camera("check", 32, 32, 0.8, 0.1, 10.0)
    scene.update_render()
    camera.take_picture()
    return np.ascontiguousarray(camera.get_picture("Color")[..., :3])


def main() -> int:
    """Prints the device, or the reason and the remedy. Returns the exit status."""
    try:
        device = choose_render_device()
        image = render_test_image(device)
    except RenderingUnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"{REMEDY} Rendering failed with: {error}", file=sys.stderr)
        return 1
    red, green, blue = (int(v) for v in image[16, 16])
    if red < 100 or green > red // 2 or blue > red // 2:
        print(f"{REMEDY} {device.name} drew a red box as RGB {red}, {green}, {blue}.", file=sys.stderr)
        return 1
    print(f"renders on {device.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
