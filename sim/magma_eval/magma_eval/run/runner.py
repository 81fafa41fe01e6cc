"""A run of the evaluator, from its plan to its results: meets the policy, opens the folder, and has a coordinator lease
what is missing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from magma_contracts.files.outputs import OutputError, check_folder
from magma_eval.benchmarks import benchmark_of, check_task
from magma_eval.policies.choice import located
from magma_eval.policies.interface import PolicyFailedError
from magma_eval.policies.memory import served_memory
from magma_eval.policies.served import served_identity, start_server
from magma_eval.pools import ray_cluster
from magma_eval.pools.admission import Admission, code_facts
from magma_eval.pools.processes import ProcessPool
from magma_eval.pools.protocol import WorkerPool, WorkerSetup
from magma_eval.run.coordinator import Coordinator, Limits, RunError, Summary
from magma_eval.run.plan import DEFAULT_FACTORY, RunConfig
from magma_eval.run.progress import Progress, say
from magma_eval.run.recorder import Recorder, RunDescription, check_same_run
from magma_eval.run.scheduler import Scheduler
from magma_eval.suites import suite_episodes
from magma_eval.version import versions
from magma_policy_client import LocalServer

if TYPE_CHECKING:
    # It imports Ray.
    from magma_eval.pools.ray_policies import RayPolicies as Policies


class Runner:
    """One run of the evaluator.

    Args:
        config: what to play.
        command: the command line, kept with the results.
    """

    def __init__(self, config: RunConfig, command: str = "") -> None:
        self._config, self._command = config, command
        self._interrupts = 0
        self._server: LocalServer | None = None
        self._policies: Policies | None = None

    def run(self) -> Summary:
        """Plays what is missing. Ctrl-C once lets the running episodes end, twice stops at once.

        Raises:
            RunError: it cannot go on.
            ResultsError: the folder holds something else, or another process writes to it.
            ValueError: unknown suite, task or variant.
        """
        config = self._config
        self._check()
        (config.out / "logs").mkdir(parents=True, exist_ok=True)
        try:
            with self._cluster():
                # Which policy it is, its server knows best; that decides what is there already.
                identity = self._meet_policy()
                description = self._description(identity)
                with Recorder(config.out, config.results_name, description) as recorder, self._signals():
                    return self._play(identity, recorder)
        finally:
            if self._server is not None:
                self._server.close()

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[None]:
        """Within, what a run on Ray needs is there. RunError says what is missing."""
        config = self._config
        if config.ray is None:
            yield
            return
        serves = config.policy.kind == "magma" and self._served()
        servers_cores = serves * config.ray_policies * max(1, config.policy.threads)
        cores = max(len(os.sched_getaffinity(0)), config.workers + servers_cores)
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(ray_cluster.cluster(config.ray or None, cores, say))
                if serves:
                    from magma_eval.pools.ray_policies import RayPolicies

                    self._policies = RayPolicies(
                        located(config.policy),
                        config.ray_policies,
                        config.ray_policy_gpus,
                        timeout_s=config.start_timeout_s,
                        loopback=not config.ray,
                        say=say,
                    )
                    stack.callback(self._policies.close)
                yield
        except ray_cluster.RayError as error:
            raise RunError(str(error)) from error

    def _check(self) -> None:
        """Whatever can be told before a policy is loaded, or a simulator is; raises as `run`."""
        config = self._config
        episodes = config.episodes()
        if config.factory == DEFAULT_FACTORY:
            for task in dict.fromkeys(episode.make for episode in episodes):
                try:
                    check_task(task)
                except RuntimeError as error:
                    raise RunError(f"the environment {task!r} cannot be made: {error}") from error
        try:
            check_folder(config.out, "--out")
            if config.ray is not None:
                ray_cluster.check_settings(config.ray or None)
        except (OutputError, ray_cluster.RayError) as error:
            raise RunError(str(error)) from error
        known = config.identity("")
        del known["policy_identity"]  # only its server knows
        check_same_run(config.out, known, config.training)

    def _play(self, identity: str, recorder: Recorder) -> Summary:
        config = self._config
        jobs = config.jobs(identity)
        results = {r.key: r for r in recorder.results if r.status == "ok" or not config.retry_errors}
        there = [results[job.key] for job in jobs if job.key in results]
        pool = self._pool(identity, recorder)
        with Progress(len(jobs), there, config.rule) as progress:
            coordinator = Coordinator(
                Scheduler([job for job in jobs if job.key not in results], config.attempts),
                pool,
                lambda: self._worker_setup(identity),
                recorder,
                progress,
                Limits(config.workers, config.attempts),
                rule=config.rule,
                settings=config.settings,
            )
            coordinator.run(lambda: self._interrupts)
        self._note_memory(recorder)
        summary = coordinator.summary
        summary.resumed = len(there)
        summary.interrupted = self._interrupts > 0 and summary.left > 0
        return summary

    def _pool(self, identity: str, recorder: Recorder) -> WorkerPool:
        config = self._config
        limits = {"start_timeout_s": config.start_timeout_s, "step_timeout_s": config.step_timeout_s}
        if config.ray is None:
            return ProcessPool(config.workers, config.out / "logs", f"worker-{config.shard.index}", **limits)
        from magma_eval.pools.ray_pool import RayPool

        tasks = tuple(dict.fromkeys(episode.make for episode in suite_episodes(config.suite)))
        known = {**recorder.facts, **code_facts(tasks, config.factory), "policy": identity}
        recorder.keep_facts(known)
        admission = Admission(known, recorder.keep_facts)
        return RayPool(admission, tasks, **limits, say=say, policies=self._policies)

    def _note_memory(self, recorder: Recorder) -> None:
        policy = self._config.policy
        if policy.on_server:
            recorder.keep_memory(served_memory(policy.text, policy.token))
        elif self._server is not None:
            recorder.keep_memory(served_memory(self._server.url, self._server.token))
        elif self._policies is not None:
            for url, token in self._policies.addresses:
                recorder.keep_memory(served_memory(url, token))

    def _description(self, identity: str) -> RunDescription:
        config = self._config
        policy = config.policy
        return RunDescription(
            identity=config.identity(identity),
            policy={"given": policy.text, "where": policy.where, "device": policy.device},
            suite=config.suite,
            rule=config.rule,
            versions=versions(suite_episodes(config.suite)),
            training=config.training,
            known_training=policy.training(),
            command=self._command,
        )

    def _worker_setup(self, identity: str) -> WorkerSetup:
        config = self._config
        folder = config.out.resolve()
        # Which server of a cluster a worker asks, its place decides.
        url, token = self._start_server() if self._policies is None else ("", "")
        policy = config.policy if config.ray is None else located(config.policy)
        return WorkerSetup(policy, url, token, identity, config.factory, config.environments, folder)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupted(number: int, frame: object) -> None:
            del number, frame
            self._interrupts += 1

        before = {}
        with contextlib.suppress(ValueError):  # only the main thread may; elsewhere the caller handles them
            before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _meet_policy(self) -> str:
        """The content of the policy; asks its server, before simulators are built for it."""
        policy = self._config.policy
        if not policy.remote or not self._served():
            return policy.identity()
        if self._policies is not None:
            return self._policies.identity
        url, token = self._start_server()
        if policy.kind != "magma":
            say(f"connecting to {url} …")
        try:
            return served_identity(policy, url, token, min(10.0, policy.deadline_s))
        except PolicyFailedError as error:
            raise RunError(str(error)) from error

    def _served(self) -> bool:
        """Whether any episode's checkpoint is asked through a server."""
        found = (benchmark_of(episode.make) for episode in self._config.episodes())
        return any(benchmark is None or benchmark.checkpoints is None for benchmark in found)

    def _start_server(self) -> tuple[str, str]:
        """URL and token of the policy's server, which is started where there is none."""
        policy = self._config.policy
        if policy.on_server:
            return policy.text, policy.token
        if policy.kind != "magma" or not self._served():
            return "", ""
        if self._server is not None and self._server.process.poll() is not None:
            self._server.close()
            self._server = None
        if self._server is None:
            log = self._config.out / "logs" / "policy-server.log"
            say(f"starting the policy {policy.label} (its output: {log}) …")
            began_s = time.monotonic()
            try:
                self._server = start_server(policy, log, self._config.start_timeout_s)
            except (PolicyFailedError, OSError, ValueError) as error:
                raise RunError(f"the policy server did not start: {error}") from error
            say(f"policy {policy.label} is ready after {time.monotonic() - began_s:.0f} s")
        return self._server.url, self._server.token
