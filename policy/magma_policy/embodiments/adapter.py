"""What becomes of a model's seven values on the robot whose data they were trained on.

Open X-Embodiment data, so also Magma and OpenVLA, code actions as x y z, roll pitch yaw, gripper opening. This
project's deltas are a translation, a rotation vector and an absolute opening. Beside the delta an adapter gives the
action that the published evaluation sends to SimplerEnv, whose gripper commands differ from robot to robot. An adapter
belongs to one robot and one episode; `reset` puts it back to the beginning.

Source: `magma_model.py` of the SimplerEnv evaluation in github.com/microsoft/Magma; the gripper rules are SimplerEnv's
own (`simpler_env/policies`). Unlike there, no state survives into the next episode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from PIL import Image

# The published evaluation shrinks every camera image to this size before the processor sees it, with Pillow's default
# (bicubic) filter.
SIMPLER_IMAGE_SIDE = 256


@dataclass(frozen=True)
class AdaptedAction:
    """`delta` float64 (7,) as everywhere in this project: metres, rotation vector (rad), opening 0 closed .. 1 open.

    `simpler` float64 (7,) is world_vector, rot_axangle and gripper of SimplerEnv's own action, None if there is none.
    """

    delta: np.ndarray
    simpler: np.ndarray | None


class Adapter(ABC):
    """Turns un-normalised model values (7,) into an action; `reset` starts an episode."""

    # Side in pixels that the image is squashed to before tiling; None leaves it alone.
    image_side: int | None = None

    def image(self, image: np.ndarray) -> np.ndarray:
        """The camera's uint8 (H, W, 3) image as this robot's model expects it."""
        if self.image_side is None:
            return image
        return np.asarray(Image.fromarray(image).resize((self.image_side, self.image_side)))

    def reset(self) -> None:  # noqa: B027 - an adapter without state has nothing to forget
        """Forget the last episode."""

    @abstractmethod
    def adapt(self, values: np.ndarray) -> AdaptedAction:
        """Un-normalised values float64 (7,), to be called once per control step."""

    @abstractmethod
    def encode(self, deltas: np.ndarray) -> np.ndarray:
        """Deltas (N, 7), as in `AdaptedAction`, to the model values (N, 7) that `adapt` turns into them."""
