"""What every command that loads a policy asks for: where it runs, in which numbers, for which robot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import OutputError, explained
from magma_contracts.text import escaped
from magma_policy.errors import CommandError, NotFiniteError
from magma_policy.files.hub import HubError
from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate

if TYPE_CHECKING:
    from magma_policy.families.interface import ActionPolicy, LoadedPolicy


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How to load a checkpoint."""

    device: Literal["auto", "cuda", "cpu", "mps"] = "auto"
    """Where the model runs; auto = the GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format; auto = float32 on a CPU, bfloat16 on a GPU."""
    quantization: Literal["none", "int8", "int4", "fp8"] = "none"
    """Smaller weights: int8 and int4 need bitsandbytes, fp8 a recent GPU."""
    threads: int = 1
    """CPU threads of the model; 0 = torch's own choice."""
    robot: str | None = None
    """For a checkpoint that does not name its robot: widowx, google_robot, or a folder with action_spec.json."""
    statistics: Path | None = None
    """A statistics.json to use instead of the checkpoint's."""
    unnorm_key: str | None = None
    """The data set, of several in the statistics, whose bounds the robot's actions have; default: the robot's own."""

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= 1024:
            raise ConfigError(f"--threads must be from 0 to 1024, got {self.threads}")

    def load(self, checkpoint: str) -> ActionPolicy:
        """Loads a folder, a shipped checkpoint by name, or owner/name from the Hugging Face Hub.

        Raises:
            CommandError: it cannot be loaded, and why.
        """
        place = _place(checkpoint)
        # torch takes seconds to import; a wrong name is told before that.
        import torch

        import magma_policy
        from magma_policy.errors import CheckpointError

        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            return magma_policy.load(
                place,
                device=self.device,
                dtype=None if self.dtype == "auto" else self.dtype,
                quantization=None if self.quantization == "none" else self.quantization,
                robot=self.robot,
                statistics=self.statistics,
                unnorm_key=self.unnorm_key,
            )
        except (CheckpointError, ConfigError, HubError, torch.OutOfMemoryError) as error:
            raise CommandError(str(error)) from error

    def load_text_model(self, checkpoint: str) -> LoadedPolicy:
        """As `load`, of a family that answers in text too. Raises CommandError."""
        from magma_policy.families import registry

        try:
            registry.require_talking(_place(checkpoint))
        except (ConfigError, HubError) as error:
            raise CommandError(str(error)) from error
        return cast("LoadedPolicy", self.load(checkpoint))


def _place(checkpoint: str) -> Path | str:
    try:
        return locate(checkpoint)
    except CheckpointNotFoundError as error:
        raise CommandError(str(error)) from error


def run_command(name: str, work: Callable[[], int]) -> int:
    """Runs a command and returns its exit status: what it returns, 1 after an error that a person can mend, 130 after
    Ctrl-C. Such errors are printed as one sentence, without a traceback."""
    try:
        return work()
    except (CommandError, ConfigError, OutputError, NotFiniteError) as error:
        # It may name what stands in a file of a stranger's.
        print(escaped(f"{name}: {error}"), file=sys.stderr)
        return 1
    except ImportError as error:
        print(
            f"{name}: {error}; `./run setup` installs what it needs and tries whether it can be imported",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough. The interpreter would try to flush it once more.
        sys.stdout = None
        return 0
    except OSError as error:
        # A disk that is full, a folder that was taken away: nothing that a traceback would help with.
        print(escaped(f"{name}: {explained(error)}"), file=sys.stderr)
        return 1
