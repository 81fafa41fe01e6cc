"""Policies that the evaluator plays: what they must offer, and the ones that need no model.

A policy is named on the command line as everywhere in this project: a shipped checkpoint by its name (`magma-tiny`),
the folder of one, `magma:` and either of these, `ws://host:port` of a policy server, `expert`, `hold` or `random`; here
also `replay:FILE_OR_FOLDER`. Names are labels: results are known by the policy's content (`Key.policy_identity`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from magma_sim.evaluation.episodes import Episode, short_hash
from magma_sim.evaluation.results import EpisodeRecord
from magma_sim.task import Observation, TaskSpec

if TYPE_CHECKING:
    from magma_policy_client import LocalServer, PolicyClient

SCRIPTED = ("expert", "hold", "random")
"""Policies that need no model."""

Actions = NDArray[np.float64]
"""one action (7,) or a chunk of them (n, 7), EndEffectorDelta"""


class PolicyMismatchError(ValueError):
    """A policy does not fit a task; the message names the field."""


class PolicyFailedError(RuntimeError):
    """A policy could not be asked, so nothing is known about its skill; the message says why."""


@dataclass(frozen=True)
class PolicySpec:
    """What a policy needs and returns. None: any."""

    name: str
    needs_image: bool
    horizon: int = 1
    step_period_s: float | None = None
    frame: str = "base"
    rotation: str = "axis_angle"
    gripper: str = "absolute_open_1"
    camera: str | None = None
    image_height: int | None = None
    image_width: int | None = None

    def check_fits(self, task: TaskSpec) -> None:
        """Raises PolicyMismatchError for the first field in which the task differs.

        Pictures may be larger than the policy's own: they are scaled down as on the robot. Smaller ones lack detail
        that the policy was made for.
        """
        for field in ("frame", "rotation", "gripper", "camera", "step_period_s"):
            mine, theirs = getattr(self, field), getattr(task, field)
            equal = mine is None or mine == theirs
            if field == "step_period_s" and mine is not None:
                equal = abs(mine - theirs) <= 1e-3 * theirs
            if not equal:
                raise PolicyMismatchError(
                    f"policy {self.name!r} and task {task.task!r} disagree on {field}: {mine!r} against {theirs!r}"
                )
        height, width = self.image_height or 0, self.image_width or 0
        if self.needs_image and (task.image_height < height or task.image_width < width):
            raise PolicyMismatchError(
                f"policy {self.name!r} looks at pictures of {height}x{width}, task {task.task!r} renders "
                f"{task.image_height}x{task.image_width}: give --image-size {height}x{width} where the suite can"
            )


class EpisodePolicy(Protocol):
    """A policy for one episode."""

    @property
    def spec(self) -> PolicySpec:
        """What it needs and returns."""

    @property
    def stage_ms(self) -> Mapping[str, float]:
        """Times of the stages of the last `act`, in milliseconds; may be empty."""

    def reset(self, instruction: str) -> None:
        """Begins the episode."""

    def act(self, observation: Observation) -> Actions | None:
        """The next action or actions; None: no command. PolicyFailedError: there is no answer."""

    def close(self) -> None:
        """Ends the episode."""


class _Plain:
    """What the policies without a model have in common."""

    def __init__(self, name: str) -> None:
        self.spec = PolicySpec(name, needs_image=False)
        self.stage_ms: Mapping[str, float] = {}

    def reset(self, instruction: str) -> None:
        del instruction

    def close(self) -> None:
        pass


class HoldPolicy(_Plain):
    """Leaves the arm's target and the gripper where they are: the rate that chance alone gives."""

    def __init__(self) -> None:
        super().__init__("hold")

    def act(self, observation: Observation) -> Actions:
        return hold_action(observation)


class RandomPolicy(_Plain):
    """Random steps: each translation axis uniform in ± 2 cm, each rotation axis in ± 0.1 rad, the gripper drawn anew,
    open or closed, every ten steps on average. The seed of the run and the episode's name decide."""

    def __init__(self, episode: Episode, seed: int) -> None:
        super().__init__("random")
        name = f"{episode.suite}/{episode.task}/{episode.variant}/{episode.episode_id}/{seed}"
        words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))
        self._gripper = 1.0

    def act(self, observation: Observation) -> Actions:
        del observation
        translation = self._random.uniform(-0.02, 0.02, 3)
        rotation = self._random.uniform(-0.1, 0.1, 3)
        if self._random.random() < 0.1:
            self._gripper = float(self._random.integers(0, 2))
        return np.array([*translation, *rotation, self._gripper])


class ExpertPolicy(_Plain):
    """The scripted expert of the task. It sees the poses of all objects: an upper bound, and proof that a task can be
    solved."""

    def __init__(self, episode: Episode) -> None:
        super().__init__("expert")
        from magma_sim.expert import make_expert

        try:
            self._expert = make_expert(episode.make)
        except ValueError as error:
            raise PolicyMismatchError(f"there is no scripted expert for {episode.make!r}: {error}") from error

    def act(self, observation: Observation) -> Actions:
        return self._expert.act(observation.end_effector, observation.object_poses)


class ReplayPolicy(_Plain):
    """Executes recorded actions, and nothing after their end.

    Raises:
        PolicyFailedError: commands came in the middle of steps, which only a video of the episode can repeat.
    """

    def __init__(self, record: EpisodeRecord, name: str = "replay") -> None:
        super().__init__(name)
        if record.late_s.any():
            raise PolicyFailedError("it was recorded in real time, with commands in the middle of steps")
        self._record = record

    def act(self, observation: Observation) -> Actions | None:
        step = observation.step
        return self._record.actions[step] if step < len(self._record.actions) and self._record.commanded[step] else None


class RemotePolicy:
    """A policy server, asked over the network; see `magma_policy_client`."""

    def __init__(self, client: PolicyClient, session: str, deadline_s: float) -> None:
        spec = client.spec
        self.spec = PolicySpec(
            name=spec.policy,
            needs_image=True,
            horizon=spec.horizon,
            step_period_s=spec.step_period_s,
            frame=spec.frame,
            rotation=spec.rotation,
            gripper=spec.gripper,
            camera=spec.camera,
            image_height=spec.image_height,
            image_width=spec.image_width,
        )
        self.stage_ms: Mapping[str, float] = {}
        self._proprioception = spec.proprioception
        self._client, self._session, self._deadline_s = client, session, deadline_s

    def reset(self, instruction: str) -> None:
        from magma_policy_client import PolicyClientError, SpecChangedError

        del instruction
        try:
            self._client.reset(self._session)
        except SpecChangedError as error:
            raise PolicyMismatchError(str(error)) from error
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error

    def act(self, observation: Observation) -> Actions:
        from magma_policy_client import PolicyClientError, SpecChangedError

        if observation.image is None:
            raise PolicyFailedError("the task gave no picture to a policy that needs one")
        image = fitted(observation.image, self.spec)
        state = observation.end_effector if self._proprioception else None
        try:
            result = self._client.act(image, observation.instruction, state, self._deadline_s)
        except SpecChangedError as error:
            raise PolicyMismatchError(str(error)) from error
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error
        self.stage_ms = result.stage_ms
        return result.deltas

    def close(self) -> None:
        pass


def hold_action(observation: Observation) -> Actions:
    """The action that leaves the arm's target where it is."""
    return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, float(np.clip(observation.end_effector.gripper_target, 0.0, 1.0))])


def fitted(image: NDArray[np.uint8], spec: PolicySpec) -> NDArray[np.uint8]:
    """The picture in the policy's size, scaled as the camera node of the robot does it (area averaging)."""
    if spec.image_height is None or spec.image_width is None:
        return image
    if image.shape[:2] == (spec.image_height, spec.image_width):
        return image
    size = (spec.image_width, spec.image_height)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


@dataclass(frozen=True)
class PolicyChoice:
    """A policy as named on the command line.

    Raises:
        ValueError: an unknown kind, or a file that is missing.
    """

    text: str
    name: str = ""
    """name in the results; empty: from the text"""
    device: str = "auto"
    threads: int = 1
    deadline_s: float = 60.0
    """longest wait for one answer"""

    def __post_init__(self) -> None:
        head = self.text.partition(":")[0]
        if head in SCRIPTED and self.text != head:
            raise ValueError(f"policy {head!r} takes no argument, got {self.text!r}")
        if self.kind == "magma" and not self.argument.strip():
            raise ValueError(f"policy {self.text!r} names no checkpoint; give its folder, or a name such as magma-tiny")
        if self.kind == "magma" and not self._is_checkpoint():
            raise ValueError(
                f"unknown policy {self.text!r}: no folder or checkpoint is called so; give the folder or name of "
                "a checkpoint (magma-tiny), with or without magma: before it, ws://host:port, expert, hold, random or "
                "replay:FILE_OR_FOLDER"
            )
        if self.kind == "replay" and not Path(self.argument).exists():
            raise ValueError(f"there is no recorded episode or folder {self.argument!r}")
        if self.remote and importlib.util.find_spec("magma_policy_client") is None:
            raise ValueError("policies on a server need magma-policy-client: pip install -e policy/client")
        if self.deadline_s <= 0 or self.threads < 0:
            raise ValueError("the deadline is above 0 s and threads are 0 or more")

    @property
    def kind(self) -> str:
        """expert, hold, random, replay, ws, wss, or magma for all that is a checkpoint."""
        head = self.text.partition(":")[0]
        return head if head in (*SCRIPTED, "replay", "ws", "wss") else "magma"

    @property
    def argument(self) -> str:
        """The recording or checkpoint: what stands behind `replay:` or `magma:`, or the whole text."""
        head, _, rest = self.text.partition(":")
        argument = rest if head in ("replay", "magma") else self.text
        # Behind a colon no shell has replaced a ~ of a path.
        return os.path.expanduser(argument) if self.kind in ("magma", "replay") else argument

    def _is_checkpoint(self) -> bool:
        """Whether `argument` is a checkpoint, as far as this environment can tell: one of a server's own knows more."""
        if Path(self.argument).is_dir():
            return True
        if importlib.util.find_spec("magma_policy") is None:
            return os.sep not in self.argument and bool(os.environ.get("MAGMA_SERVE"))
        from magma_policy.checkpoint_paths import CheckpointNotFoundError, locate

        try:
            locate(self.argument)
        except CheckpointNotFoundError:
            return False
        return True

    @property
    def remote(self) -> bool:
        """Whether it is asked over a connection."""
        return self.kind in ("magma", "ws", "wss")

    @property
    def token(self) -> str:
        """Of a server that somebody else has started, from MAGMA_SERVE_TOKEN; "" without."""
        return os.environ.get("MAGMA_SERVE_TOKEN", "")

    @property
    def label(self) -> str:
        """Name in the results."""
        if self.name:
            return self.name
        if self.kind in ("magma", "replay"):
            return f"{self.kind}:{Path(self.argument).resolve().name}"
        return self.text

    def identity(self) -> str:
        """Content of a policy that no server answers for: of recordings a hash of their files, of scripted policies
        their name; of a checkpoint the hash of its data files, which is not what its server says of it."""
        if self.kind not in ("magma", "replay"):
            return self.text
        path = self._folder()
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        parts = []
        for file in files:
            if file.suffix in (".json", ".jsonl", ".safetensors", ".npz", ".model"):
                parts.append([str(file.relative_to(path)) if path.is_dir() else file.name, _file_hash(file)])
        return f"{self.kind} {short_hash(parts)}"

    def _folder(self) -> Path:
        """Where the checkpoint or recording lies; of a shipped checkpoint as magma-policy has it."""
        path = Path(self.argument)
        if self.kind != "magma" or path.is_dir() or importlib.util.find_spec("magma_policy") is None:
            return path
        from magma_policy.checkpoint_paths import locate

        return Path(locate(self.argument))

    @property
    def where(self) -> str:
        """Where it is, for people: an absolute path, or the text itself."""
        return str(self._folder().resolve()) if self.kind in ("magma", "replay") else self.text

    def training(self) -> str:
        """How the policy was trained, from its own card; "" when it does not say."""
        if self.kind != "magma":
            return "none (scripted)" if self.kind in SCRIPTED else ""
        card = self._folder() / "README.md"
        if not card.is_file():
            return ""
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines():
            # "training: in-domain simulation", alone or as a row of a table
            key, colon, value = line.strip(" -*|").partition("|" if line.startswith("|") else ":")
            if colon and key.strip(" *").lower() == "training":
                return value.strip(" *|")
        return ""


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class PolicySource:
    """Makes the policy of each episode, in a worker process. Keeps the connection to a server between episodes.

    Args:
        choice: what to play.
        url: the policy server of a remote policy; token: what it was started with.
        identity: the content that a remote policy must have; None takes any.
    """

    def __init__(self, choice: PolicyChoice, url: str = "", token: str = "", identity: str | None = None) -> None:
        self._choice, self._url, self._token, self._identity = choice, url, token, identity
        self._clients: dict[str, PolicyClient] = {}
        """by robot; "" is the policy's default one"""

    @property
    def needs_image(self) -> bool:
        """Whether the policy looks at pictures."""
        return self._choice.remote

    def for_episode(self, episode: Episode, robot: str, seed: int, record_name: str) -> EpisodePolicy:
        """The policy of an episode.

        Args:
            episode: what is played.
            robot: the task's robot (`TaskSpec.robot`); a policy that does not know it by name acts as for its default
                one, and whether that fits is checked against the task.
            seed: of the run.
            record_name: the file that `replay:FOLDER` looks for.

        Raises:
            PolicyFailedError: the server cannot be reached, or there is no recorded episode.
            PolicyMismatchError: the server has another policy than the run began with.
        """
        kind = self._choice.kind
        if kind == "hold":
            return HoldPolicy()
        if kind == "random":
            return RandomPolicy(episode, seed)
        if kind == "expert":
            return ExpertPolicy(episode)
        if kind == "replay":
            return ReplayPolicy(EpisodeRecord.read(self._recorded(episode)))
        from magma_policy_client import PolicyClientError

        try:
            client = self._connected("")
            if robot in client.robots:
                client = self._connected(robot)
        except PolicyClientError as error:
            raise PolicyFailedError(f"{type(error).__name__}: {error}") from error
        return RemotePolicy(client, f"worker-{os.getpid()}", self._choice.deadline_s)

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _connected(self, robot: str) -> PolicyClient:
        """The connection for a robot; kept from episode to episode."""
        from magma_policy_client import PolicyClient

        if robot not in self._clients:
            client = PolicyClient(self._url, self._token or None, self._choice.deadline_s, robot)
            if self._identity is not None and client.identity != self._identity:
                client.close()
                raise PolicyMismatchError(
                    f"{self._url} serves {client.spec.policy} of content {client.identity[:12] or 'unknown'}, but this "
                    f"run began with content {self._identity[:12] or 'unknown'}: another policy behind one address, "
                    "whose results belong into another --out"
                )
            self._clients[robot] = client
        return self._clients[robot]

    def _recorded(self, episode: Episode) -> Path:
        path = Path(self._choice.argument)
        if path.is_file():
            return path
        from magma_sim.evaluation.results import ResultsError, load

        wanted = (episode.suite, episode.task, episode.variant, episode.episode_id)
        try:
            for result in load(path).results:
                if result.record and result.key.start[:4] == wanted:
                    return path / result.record
        except ResultsError as error:
            raise PolicyFailedError(str(error)) from error
        raise PolicyFailedError(f"{path} holds no recorded episode {wanted}")


def served_identity(choice: PolicyChoice, url: str, token: str, deadline_s: float) -> str:
    """The content of the policy on a server, as it says itself. Raises PolicyFailedError when it cannot be asked."""
    from magma_policy_client import PolicyClient, PolicyClientError

    try:
        with PolicyClient(url, token or None, deadline_s) as client:
            return client.identity
    except (PolicyClientError, ValueError) as error:
        raise PolicyFailedError(f"the policy server {choice.text} cannot be used: {error}") from error


def start_server(choice: PolicyChoice, log: Path, timeout_s: float) -> LocalServer:
    """A policy server of this run for a `magma:` policy. Raises PolicyFailedError when it does not start in time."""
    from magma_policy_client import LocalServer, PolicyClientError

    try:
        return LocalServer(choice.argument, device=choice.device, threads=choice.threads, timeout_s=timeout_s, log=log)
    except PolicyClientError as error:
        raise PolicyFailedError(str(error)) from error


def as_rows(actions: Any) -> NDArray[np.float64]:
    """One action (7,) or a chunk (n, 7) as rows. ValueError: neither, empty, not finite, or a bad gripper."""
    rows = np.asarray(actions, dtype=np.float64)
    if rows.shape == (7,):
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != 7 or len(rows) == 0:
        raise ValueError(f"actions have shape (7,) or (n, 7), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("actions must be finite")
    if rows[:, 6].min() < 0.0 or rows[:, 6].max() > 1.0:
        raise ValueError("the gripper is an absolute opening in [0, 1]")
    return rows
