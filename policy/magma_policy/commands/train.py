"""The command `magma-train`."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import tyro

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_contracts.text import escaped, printable
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.reader import Demonstrations, held_out_text
from magma_policy.errors import CheckpointError, CommandError, NotFiniteError, ScreenError
from magma_policy.files.hub import HubError
from magma_policy.files.json_files import read_object
from magma_policy.files.stored_settings import differences
from magma_policy.files.whole_files import whole_file
from magma_policy.grounding.scenes import SceneError, check_scenes, read_scenes
from magma_policy.screens.rows import read_rows
from magma_policy.training.config import CHANGEABLE, TrainConfig
from magma_policy.training.loop import processes, settings, success
from magma_policy.training.loop.divergence import DivergedError
from magma_policy.training.loop.run_lock import run_lock
from magma_policy.training.loop.saved_run import SavedRunError
from magma_policy.training.loop.training_loop import TrainingLoop
from magma_policy.training.recipes.chat import trainer as chat_trainer
from magma_policy.training.recipes.chat.config import ChatTrainConfig
from magma_policy.training.recipes.grit import config as grit_config
from magma_policy.training.recipes.grit import trainer as grit_trainer
from magma_policy.training.recipes.grit.config import GritConfig
from magma_policy.training.recipes.grounding import trainer as grounding_trainer
from magma_policy.training.recipes.grounding.config import GroundingConfig
from magma_policy.training.recipes.robot_actions.trainer import Trainer, check_sets, read_sets
from magma_policy.training.recipes.screens import trainer as screens_trainer
from magma_policy.training.recipes.screens.config import ScreensConfig
from magma_policy.training.starting_point import StartingPoint, memory
from magma_policy_client.checkpoint_paths import CheckpointNotFoundError

Config = TrainConfig | GroundingConfig | ChatTrainConfig | ScreensConfig | GritConfig


def check_output(config: Config) -> None:
    """ConfigError when the output is no folder, belongs to a run with other settings, or holds somebody else's
    checkpoint. Writes nothing: until a run can begin, it claims no folder."""
    path = config.output / "train.json"
    check_folder(config.output, "--output")
    if path.is_file():
        mine = _as_json(config)
        # A setting that was not known yet had what is now its default.
        stored = _as_json(_with_defaults(config)) | _stored(path)
        changeable = _recipe_of(config).changeable
        names = [name for name in mine if name not in changeable]
        different = differences(stored, {name: mine[name] for name in names})
        if different:
            raise ConfigError(f"{path} is of a run with other settings ({different}); choose another output")
        return
    theirs = [name for name in ("checkpoint", "adapter", "config.json") if (config.output / name).exists()]
    if theirs and not (config.output / "training").is_dir():
        raise ConfigError(f"{config.output} holds {theirs[0]}, but of no training run; choose another output")


def _with_defaults(config: Config) -> Config:
    """As a run of this recipe is configured that is told only what it must be."""
    needed = (item.name for item in dataclasses.fields(config) if item.default is item.default_factory is MISSING)
    return type(config)(**{name: getattr(config, name) for name in needed})


def check_same_command(config: Config) -> None:
    """Store the command beside the run; ConfigError as `check_output`."""
    check_output(config)
    config.output.mkdir(parents=True, exist_ok=True)
    with whole_file(config.output / "train.json") as partial:
        partial.write_text(json.dumps(_as_json(config), indent=2) + "\n", encoding="utf-8")


def _stored(path: Path) -> dict[str, object]:
    try:
        return read_object(path)
    except ConfigError as error:
        raise ConfigError(
            f"{path}: not the settings of a run ({printable(error)}), maybe cut off by a crash; remove it to go on "
            "with the settings of this command, or choose another output"
        ) from error


def _as_json(config: Config) -> dict[str, object]:
    return dict(json.loads(json.dumps(dataclasses.asdict(config), default=str)))


def describe(demos: Demonstrations, validation_every: int) -> str:
    """The demonstrations in one line, and which of them only measure."""
    return (
        f"{len(demos.episode_names)} episodes of {len(demos.cards)} robots, {len(demos)} steps, {len(demos.frames)} "
        f"frames of {demos.frames.shape[2]}x{demos.frames.shape[1]}, contents {demos.identity}; instructions "
        f"{list(demos.instructions)}; {held_out_text(demos, validation_every)}"
    )


def main() -> None:
    """Entry point of `magma-train`."""
    try:
        recipe = RECIPES[_recipe_name(sys.argv[1:])]
        status = recipe.train(tyro.cli(recipe.config, prog="magma-train"))
    except KeyboardInterrupt:
        print("magma-train: interrupted before the first step; nothing was written", file=sys.stderr)
        sys.exit(130)
    except (
        ConfigError, DemonstrationError, SceneError, SavedRunError, CheckpointError, CheckpointNotFoundError, HubError,
        DivergedError, NotFiniteError, ScreenError, CommandError, OSError,
    ) as error:  # fmt: skip
        sys.exit(f"magma-train: {error}")
    if status:
        sys.exit(status)


def _recipe_name(arguments: Sequence[str]) -> str:
    """The recipe that is asked for, which decides what other arguments there are. Raises ConfigError for one that is
    not known."""
    name = next(iter(RECIPES))
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.split("=")[0] == "--recipe":
            name = argument.partition("=")[2] or following
    if name not in RECIPES:
        raise ConfigError(f"no recipe {printable(name, 80)!r}; there are {', '.join(RECIPES)}")
    return name


def train(config: TrainConfig) -> int:
    """Trains on demonstrations, or says what would be trained; the exit status. Raises what `main` makes a sentence
    of."""
    _check_data(config)
    if config.dry_run:
        start = StartingPoint.of(config)
        print(describe(read_sets(config), config.validation_every))
        print(f"{start.config.name}: {memory(start, config)}")
        return 0
    with _joined(config) as speaks:
        start = StartingPoint.of(config)
        needed = memory(start, config)
        if speaks:
            # Before anything is allocated, so that it can be read when there is too little.
            print(f"{start.config.name}: {needed}", flush=True)
        if config.success_suites and processes.count() > 1:
            # While one process plays episodes the others would wait longer than their exchange allows.
            raise ConfigError("success_suites are for a run of one process; evaluate the checkpoint afterwards")
        trainer = Trainer(config, start)
        return _run(trainer, config, describe(trainer.demos, config.validation_every))


def _check_data(config: TrainConfig) -> None:
    """What a run reads or asks later, looked at before a model is fetched or built for it; raises as `train`."""
    check_sets(config)
    for suite in config.success_suites:
        success.check_suite(suite)


def train_grounding(config: GroundingConfig) -> int:
    """Trains on scenes, or says on which; the exit status. Raises what `main` makes a sentence of."""
    check_scenes(config.scenes, "train")
    check_scenes(config.validation, "validation")
    if config.dry_run:
        scenes = read_scenes(config.scenes, "train")
        print(f"{grounding_trainer.told(scenes)}; {grounding_trainer.size(scenes):,} parameters")
        return 0
    with _joined(config):
        trainer = grounding_trainer.Trainer(config)
        return _run(trainer, config, grounding_trainer.told(trainer.scenes))


def train_grit(config: GritConfig) -> int:
    """Trains on GRIT, or says on what; the exit status. Raises what `main` makes a sentence of."""
    if config.dry_run:
        print(grit_trainer.Trainer(config))
        return 0
    with _joined(config):
        trainer = grit_trainer.Trainer(config)
        return _run(trainer, config, str(trainer))


def train_chat(config: ChatTrainConfig) -> int:
    """Trains on conversations, or says on which; the exit status. Raises what `main` makes a sentence of."""
    if config.dry_run:
        start = StartingPoint.of(config.model())
        lesson = chat_trainer.lesson_of(config, chat_trainer.processor_of(start))
        print(f"{lesson}; {start.config.name}: {memory(start, config.model())}")
        print("".join(f"left out: {escaped(problem)}\n" for problem in lesson.problems), end="")
        return 0
    with _joined(config):
        trainer = chat_trainer.Trainer(config)
        return _run(trainer, config, str(trainer.lesson))


def train_screens(config: ScreensConfig) -> int:
    """Trains on rows about screens, or says on which; the exit status. Raises what `main` makes a sentence of."""
    if config.dry_run:
        print(screens_trainer.told(read_rows(config.rows)))
        return 0
    with _joined(config):
        trainer = screens_trainer.Trainer(config)
        return _run(trainer, config, screens_trainer.told(trainer.rows))


@dataclass(frozen=True)
class _Recipe:
    """What can be learned: what it is told, which of that may change when a run goes on, and how it is begun."""

    config: type[Config]
    changeable: frozenset[str]
    train: Callable[[Any], int]


RECIPES = {
    "robot_actions": _Recipe(TrainConfig, CHANGEABLE, train),
    "grounding": _Recipe(GroundingConfig, settings.CHANGEABLE, train_grounding),
    "grit": _Recipe(GritConfig, grit_config.CHANGEABLE, train_grit),
    "chat": _Recipe(ChatTrainConfig, settings.CHANGEABLE, train_chat),
    "screens": _Recipe(ScreensConfig, settings.CHANGEABLE, train_screens),
}
"""By the name that `--recipe` gives."""


def _recipe_of(config: Config) -> _Recipe:
    return next(recipe for recipe in RECIPES.values() if recipe.config is type(config))


@contextmanager
def _joined(config: Config) -> Iterator[bool]:
    """The processes of a run joined, and its folder claimed by the one that speaks for all; whether this is the one."""
    processes.join(config.device)
    speaks = processes.rank() == 0
    if speaks:
        check_output(config)
    with run_lock(config.output) if speaks else nullcontext():
        yield speaks


def _run(trainer: TrainingLoop[Any, Any], config: Config, data: str) -> int:
    """Begins the run or goes on with it; the exit status."""
    speaks = processes.rank() == 0
    continued = trainer.restore()
    if speaks:
        check_same_command(config)
        print(f"{data}; {f'continued at step {trainer.step}' if continued else 'new run'}", flush=True)
    interrupted_by = trainer.run()
    processes.leave()
    if interrupted_by and speaks:
        again = shlex.join(["magma-train", *sys.argv[1:]])
        print(f"interrupted at step {trainer.step} of {config.steps}; what was learnt is saved. To go on: {again}")
    elif speaks and trainer.step < config.steps:
        print(f"stopped after step {trainer.step} of {config.steps}, as asked; without --stop-after it goes on")
    # As shells tell of a program that a signal has ended.
    return 128 + interrupted_by if interrupted_by else 0


if __name__ == "__main__":
    main()
