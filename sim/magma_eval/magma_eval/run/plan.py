"""The plan of a run: which episodes are played, how, and under which keys their results are kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magma_eval.episodes import Episode, short_hash
from magma_eval.policies.choice import PolicyChoice
from magma_eval.results.episode_result import RULE_TEXT, SUCCESS_RULES, Key, SuccessRule
from magma_eval.rollout.settings import DEFAULT_COMPENSATION, Clock, Compensation, RolloutSettings
from magma_eval.run.scheduler import Job
from magma_eval.suites import Shard, select, suite_episodes
from magma_eval.version import code_version

DEFAULT_FACTORY = "magma_eval.benchmarks:make_task"


@dataclass(frozen=True)
class RunConfig:
    """What a run plays and how. Its folder can be given again to go on with it.

    Raises:
        ValueError: a value that makes no sense, or values that do not go together.
    """

    policy: PolicyChoice
    suite: str
    out: Path
    tasks: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    limit: int | None = None
    seeds: tuple[int, ...] = (0,)
    clock: Clock = "lockstep"
    latencies_ms: tuple[float, ...] = ()
    latency_jitter_ms: float = 0.0
    lost_answers: float = 0.0
    compensation: Compensation | None = None
    """None: the clock's own, `DEFAULT_COMPENSATION`; references for a policy on a server, as on the robot: its picture
    is as old as before, and what is foretold of the arm contradicts it"""
    execute_steps: int | None = None
    rule: SuccessRule = "last"
    training: str = ""
    workers: int = 1
    shard: Shard = field(default_factory=Shard)
    attempts: int = 3
    retry_errors: bool = False
    start_timeout_s: float = 600.0
    step_timeout_s: float = 120.0
    environments: int = 4
    image_size: tuple[int, int] | None = None
    factory: str = DEFAULT_FACTORY
    ray: str | None = None
    """HOST:PORT or auto of a Ray cluster whose machines play; "": one of this machine, for this run; None: processes"""
    ray_policies: int = 1
    """servers of a checkpoint that the cluster holds"""
    ray_policy_gpus: float = 0.0
    """of each; below 1 they share one"""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.attempts < 1 or self.environments < 1:
            raise ValueError("workers, attempts and environments are at least 1")
        gpus = self.ray_policy_gpus
        if self.ray_policies < 1 or not 0 <= gpus <= 64 or (gpus > 1 and gpus % 1):
            raise ValueError(
                "a cluster holds at least 1 policy, with a share of one GPU or 0 to 64 whole ones, got "
                f"{self.ray_policies} with {gpus}"
            )
        if (self.ray is None or self.policy.kind != "magma") and (self.ray_policies != 1 or gpus):
            raise ValueError("the number of policies and their GPUs are of a checkpoint on a cluster: they need --ray")
        if self.ray is not None and self.shard.count > 1:
            raise ValueError("--ray hands out the episodes itself: no --shard goes with it")
        if self.rule not in SUCCESS_RULES:
            raise ValueError(f"unknown success rule {self.rule!r}; it is one of {', '.join(RULE_TEXT)}")
        if self.image_size is not None and min(self.image_size) < 1:
            raise ValueError(f"a picture has at least one row and one column, got {self.image_size}")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are different numbers from 0 on, got {self.seeds}")
        if self.start_timeout_s <= 0 or self.step_timeout_s <= 0:
            raise ValueError("timeouts are above 0 s")
        if self.policy.remote and self.step_timeout_s <= self.policy.deadline_s:
            raise ValueError(
                f"the step timeout ({self.step_timeout_s} s) must be above the policy's deadline "
                f"({self.policy.deadline_s} s), or a slow policy would look like a hung simulator"
            )
        if len(set(self.latencies_ms)) != len(self.latencies_ms):
            raise ValueError(f"a latency is given twice: {self.latencies_ms}")
        self.rollouts()

    def rollouts(self) -> list[RolloutSettings]:
        """How episodes are played, one per latency; ValueError when the settings do not go together."""
        latencies: tuple[float | None, ...] = self.latencies_ms or (None,)
        return [
            RolloutSettings(
                clock=self.clock,
                latency_ms=latency,
                latency_jitter_ms=self.latency_jitter_ms,
                lost_answers=self.lost_answers,
                compensation=self._compensation,
                execute_steps=self.execute_steps,
                rule=self.rule,
            )
            for latency in latencies
        ]

    @property
    def _compensation(self) -> Compensation:
        usual = DEFAULT_COMPENSATION[self.clock]
        return self.compensation or ("references" if usual == "prediction" and self.policy.remote else usual)

    @property
    def results_name(self) -> str:
        """The file of lines that this run, or this shard of it, writes."""
        return "results.jsonl" if self.shard.count == 1 else f"results-{self.shard.index}-of-{self.shard.count}.jsonl"

    def identity(self, policy: str) -> dict[str, Any]:
        """What all results in one folder share; `policy` is the content of the policy."""
        return {
            "policy": self.policy.label,
            "policy_identity": policy,
            "clock": self.clock,
            "execute_steps": self.execute_steps,
            "latency_jitter_ms": self.latency_jitter_ms,
            "lost_answers": self.lost_answers,
            "compensation": self.rollouts()[0].compensation,
            "rule": self.rule,
            "factory": self.factory,
            "code": code_version(suite_episodes(self.suite)),
        }

    @property
    def settings(self) -> dict[str, str]:
        """What is not left to the suite and the policy, in words."""
        chosen = self.rollouts()[0].in_words
        if self.image_size is not None:
            chosen["picture"] = "{}x{}".format(*self.image_size)
        return chosen

    def episodes(self) -> list[Episode]:
        """The episodes of all shards in the order of the suite; ValueError when there are none."""
        episodes = select(suite_episodes(self.suite), tasks=self.tasks, variants=self.variants, limit=self.limit)
        if self.image_size is not None:
            size = {"image_size": list(self.image_size)}
            episodes = [dataclasses.replace(episode, options={**episode.options, **size}) for episode in episodes]
        return episodes

    def jobs(self, policy: str) -> list[Job]:
        """Every episode of this shard, at every latency and with every seed; `policy` is the content of the policy."""
        identity, episodes = self.identity(policy), self.episodes()
        jobs = []
        for settings in self.rollouts():
            for seed in self.seeds:
                for episode in self.shard.of(episodes):
                    what = {**identity, "episode": episode.as_json(), "manner": dataclasses.asdict(settings)}
                    key = Key(
                        suite=episode.suite,
                        task=episode.task,
                        variant=episode.variant,
                        episode_id=episode.episode_id,
                        seed=seed,
                        policy=self.policy.label,
                        configuration=short_hash(what),
                        code=identity["code"],
                        policy_identity=policy,
                    )
                    jobs.append(Job(key, episode, settings, seed))
        return jobs
