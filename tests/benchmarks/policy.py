"""How long one action takes, stage by stage, against the floor that this machine sets, and against transformers.

    python tests/benchmarks/policy.py                      # magma-tiny, a 100 M model, and Magma-8B's shape on a GPU
    python tests/benchmarks/policy.py tiny --threads 2
    python tests/benchmarks/policy.py /data/checkpoint --device cuda --quantization fp8
    python tests/benchmarks/policy.py 8b --device cuda --json figures.json

The floor of a stage is the larger of bytes / bandwidth and operations / (operations per second), both measured here,
right before, with the same number of threads: reading one large array, and one large matrix product in the model's own
type. Weights are counted once per pass over them, so the floor of decoding is that of six passes one after the other;
reading several drafted ids in one pass can fall below it. Every action sees another picture, as on a robot that moves;
with --alike one that hardly differs, as on a robot that stands still.

Ids of the picture before are the guess of the next; how often they are right is a matter of trained weights and of
motion. `--recorded FOLDER` takes it from there: magma-tiny acts along the recorded episodes, and the guesses of the
models with random weights are then made right for as many ids, picture by picture.

`transformers` is the usual way to run the same weights: the same vision tower, then `generate(inputs_embeds=...)` of
transformers' Llama over the whole prompt for the seven ids and the end of turn, on the same frames in turns. Its logits
are confined to the action ids too, so both must give the same seven, and that is checked.

Models `100m` and `8b` have random weights: their times are real, their actions mean nothing. On a busy machine the wall
times say little; the CPU time per action still does.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import LogitsProcessor, LogitsProcessorList

import magma_policy
from magma_contracts.actions import DELTA_SIZE
from magma_policy.embodiments import robots
from magma_policy.embodiments.action_normalization import ActionStatistics
from magma_policy.embodiments.action_spec import ActionSpec
from magma_policy.embodiments.robots import Robot
from magma_policy.families.interface import Proprioception
from magma_policy.families.magma import checkpoint as checkpoints
from magma_policy.families.magma.checkpoint import Checkpoint
from magma_policy.families.magma.config import (
    ImageConfig,
    MagmaConfig,
    TokenConfig,
    VisionConfig,
    magma_8b_config,
)
from magma_policy.families.magma.model import Magma
from magma_policy.families.magma.policy import Policy
from magma_policy.families.magma.prompt import robot_prompt
from magma_policy.families.magma.tiling import tile_image
from magma_policy.families.magma.tokenizer import build_small_tokenizer
from magma_policy.inference.action_decoding import decode_action_ids
from magma_policy.inference.action_tokens import NUM_BINS
from magma_policy.inference.device import DTYPES, pick_device, pick_dtype
from magma_policy.inference.llama_config import TextConfig
from magma_policy.inference.packed_linear import pack_linears
from magma_policy.inference.quantisation import quantise

SHIPPED = Path(__file__).parents[2] / "policy" / "checkpoints" / "magma-tiny"
INSTRUCTION = "put the carrot on the plate"
STAGES = ("preprocess", "vision", "prefill", "decode", "unnormalise")
WARM_UP = 3
PERCENTILES = (50, 95, 99)


def config_100m() -> MagmaConfig:
    """A plain Magma of about 100 M parameters: ConvNeXt-T's tower, twelve decoder layers, Magma's 512 px tiles."""
    tokens = TokenConfig.magma_layout(8192)
    return MagmaConfig(
        name="magma-100m",
        vision=VisionConfig(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)),
        image=ImageConfig(base_size=512, max_num_crops=1),
        text=TextConfig(
            hidden_size=640,
            intermediate_size=1792,
            num_hidden_layers=12,
            num_attention_heads=10,
            num_key_value_heads=5,
            vocab_size=tokens.total_size,
        ),
        tokens=tokens,
    )


def random_policy(
    config: MagmaConfig, device: torch.device, dtype: torch.dtype, quantization: str | None
) -> tuple[Policy, Magma]:
    """A policy of that shape with random weights, made where it will run, and its model as plain torch modules."""
    if config.text.vocab_size is None:
        # The published tokenizer's rows, padded as the published conversion pads them.
        config = MagmaConfig(**{**vars(config), "text": TextConfig(**{**vars(config.text), "vocab_size": 128320})})
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Magma(config).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    plain = model
    if quantization is not None:
        quantise(model, quantization, device, dtype)
    elif device.type == "cpu":
        plain = copy.deepcopy(model)
        pack_linears(model)
    bounds = ActionStatistics((-0.01,) * 6 + (0.0,), (0.01,) * 6 + (1.0,), (True,) * 6 + (False,))
    spec = ActionSpec(
        config.name, 1, 0.2, "base", "axis_angle", "absolute_open_1", "random", "third_person", 256, 256, False
    )
    tokenizer = build_small_tokenizer(config.tokens)
    return Policy(
        Checkpoint(model, tokenizer, {robots.DEFAULT: Robot(spec, bounds)}, (config.tokens.end_of_turn,)), device
    ), plain


def clock(device: torch.device) -> float:
    """Seconds, after all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def best_rate(work: Callable[[], Any], amount: float, device: torch.device, budget_s: float = 1.0) -> float:
    """`amount` per second of the fastest of several runs."""
    work()
    best = 0.0
    until = time.perf_counter() + budget_s
    while time.perf_counter() < until:
        started = clock(device)
        work()
        best = max(best, amount / (clock(device) - started))
    return best


@dataclass(frozen=True)
class Machine:
    """What this machine can do at best."""

    bytes_per_s: float
    operations_per_s: float

    @classmethod
    def measure(cls, device: torch.device, dtype: torch.dtype) -> Machine:
        """Reads an array far larger than any cache, and multiplies matrices in the model's type."""
        size = 2**28 if device.type == "cpu" else 2**32
        block = torch.ones(size // 4, dtype=torch.float32, device=device)
        bandwidth = best_rate(block.sum, size, device)
        del block
        side = 1024 if device.type == "cpu" else 8192
        left = torch.randn(side, side, device=device).to(dtype)
        operations = best_rate(lambda: left @ left, 2.0 * side**3, device)
        return cls(bandwidth, operations)

    def floor_ms(self, size: float, operations: float) -> float:
        """Milliseconds for so many bytes and operations."""
        return 1e3 * max(size / self.bytes_per_s, operations / self.operations_per_s)


def weight_bytes(module: torch.nn.Module) -> int:
    """Bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


@dataclass
class Run:
    """Measured times in ms by stage, and what they are held against."""

    name: str
    stages: dict[str, list[float]] = field(default_factory=dict)
    floor_ms: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.stages.setdefault(name, []).append(value)

    def table(self) -> str:
        """For people."""
        lines = [f"{self.name}", f"  {'ms':22s}" + "".join(f"{f'p{p}':>9s}" for p in PERCENTILES) + f"{'floor':>9s}"]
        for name, values in self.stages.items():
            numbers = "".join(f"{np.percentile(values, p):9.2f}" for p in PERCENTILES)
            floor = f"{self.floor_ms[name]:9.2f}" if name in self.floor_ms else " " * 9
            lines.append(f"  {name:22s}{numbers}{floor}")
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        times = {n: {f"p{p}": float(np.percentile(v, p)) for p in PERCENTILES} for n, v in self.stages.items()}
        return {"name": self.name, "ms": times, "floor_ms": self.floor_ms, **self.facts}


def pictures(policy: Policy, count: int, alike: bool = False) -> list[np.ndarray]:
    """Pictures of the size that the policy wants, blurred noise: each another one, or `alike` to the one before, so
    that the ids of that are always the right guess."""
    rng = np.random.default_rng(0)
    height, width = policy.spec.image_height, policy.spec.image_width
    coarse = rng.integers(0, 256, (max(2, count), 8, 8, 3)).astype(np.float64)
    frames = []
    for index in range(count):
        mixed = coarse[0] + (coarse[1] - coarse[0]) * index / max(1, count - 1) if alike else coarse[index]
        big = np.kron(mixed, np.ones((-(-height // 8), -(-width // 8), 1)))[:height, :width]
        frames.append(np.clip(big + rng.normal(0, 4, big.shape), 0, 255).astype(np.uint8))
    return frames


def proprioception(policy: Policy) -> Proprioception | None:
    if not policy.spec.proprioception:
        return None
    place, down = np.array([0.45, 0.0, 0.2]), np.array([1.0, 0.0, 0.0, 0.0])
    return Proprioception(place, down, place, down, 1.0, 1.0)


def floors(policy: Policy, model: Magma, machine: Machine, frame: np.ndarray) -> dict[str, float]:
    """Least milliseconds per stage: every weight read once per pass, every multiplication at the best rate."""
    tiles, (rows, cols) = tile_image(frame, model.config.image)
    tiles = tiles.to(policy.device, policy._dtype)
    layers = model.language_model.model
    ids = policy.tokenizer.encode(robot_prompt(INSTRUCTION, model.config.image_markers))
    with torch.no_grad():
        with FlopCounterMode(display=False) as vision_flops:
            visual, levels = model.encode_image(tiles, rows, cols)
        with FlopCounterMode(display=False) as prefill_flops:
            model.prefill(torch.tensor([ids[policy._head.length :]], device=policy.device), visual, levels)
    embedding = layers.embed_tokens.weight
    decoder = weight_bytes(layers) - embedding.numel() * embedding.element_size()
    vision = weight_bytes(model.vision_tower) + weight_bytes(model.multi_modal_projector)
    head = NUM_BINS * embedding.shape[1] * model.language_model.lm_head.weight.element_size()
    result = {
        "vision": machine.floor_ms(vision, vision_flops.get_total_flops()),
        "prefill": machine.floor_ms(decoder, prefill_flops.get_total_flops()),
        "decode": machine.floor_ms((DELTA_SIZE - 1) * decoder + DELTA_SIZE * head, 0.0),
    }
    return {**result, "action": sum(result.values())}


class ActionsOnly(LogitsProcessor):
    """Confines transformers' greedy search to the 256 action ids."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        confined = torch.full_like(scores, float("-inf"))
        confined[:, self.first : self.first + NUM_BINS] = scores[:, self.first : self.first + NUM_BINS]
        return confined


@torch.inference_mode()
def act_with_transformers(policy: Policy, model: Magma, frame: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """The seven ids as the usual stack makes them, and the stage times in ms."""
    device = policy.device
    times = [clock(device)]
    tiles, (rows, cols) = tile_image(frame, model.config.image)
    tiles = tiles.to(device, policy._dtype)
    ids = policy.tokenizer.encode(robot_prompt(INSTRUCTION, model.config.image_markers))
    times.append(clock(device))
    visual, _ = model.encode_image(tiles, rows, cols)
    times.append(clock(device))
    embeddings, _, _ = model.merge(torch.tensor([ids], device=device), visual, None, 0)
    made = model.language_model.generate(
        inputs_embeds=embeddings,
        attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64, device=device),
        max_new_tokens=DELTA_SIZE + 1,
        do_sample=False,
        logits_processor=LogitsProcessorList([ActionsOnly(model.first_action_id)]),
        pad_token_id=model.config.tokens.pad,
    )
    times.append(clock(device))
    names = ("preprocess", "vision", "generate")
    stages = {n: (b - a) * 1e3 for n, a, b in zip(names, times, times[1:], strict=False)}
    return made[0, :DELTA_SIZE].cpu().numpy(), stages


def measure(
    policy: Policy, plain: Magma, actions: int, threads: int, compare: bool, dtype: str, alike: bool, right: list[int]
) -> Run:
    """Acts `actions` times on different pictures. `plain` is the model in the modules that transformers knows."""
    device = policy.device
    machine = Machine.measure(device, policy._dtype)
    parameters = sum(p.numel() for p in plain.parameters())
    where = f"{threads} thread(s) of {platform.processor() or platform.machine()}"
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    run = Run(f"{policy.spec.policy}, {parameters / 1e6:.1f} M parameters, {dtype}, {where}")
    frames = pictures(policy, actions + WARM_UP, alike)
    state = proprioception(policy)
    reads = count_reads(policy)
    for frame in frames[:WARM_UP]:
        policy.act(frame, INSTRUCTION, state)
    reads.clear()
    ids = []
    began_cpu = time.process_time()
    for frame in frames[WARM_UP:]:
        started = clock(device)
        result = policy.act(frame, INSTRUCTION, state)
        elapsed = (clock(device) - started) * 1e3
        ids.append(result.ids)
        for name in STAGES:
            run.add(name, result.stage_ms[name])
        run.add("action", elapsed)
    cpu_ms = (time.process_time() - began_cpu) / actions * 1e3
    decoder_passes = len(reads) / actions - 1
    run.floor_ms = floors(policy, plain, machine, frames[0])
    run.facts["machine"] = (
        f"{machine.bytes_per_s / 1e9:.1f} GB/s, {machine.operations_per_s / 1e9:.0f} GFLOP/s ({dtype})"
    )
    run.facts["CPU time per action"] = f"{cpu_ms:.2f} ms"
    run.facts["weights"] = f"{weight_bytes(plain) / 2**20:.0f} MiB"
    if device.type == "cuda":
        run.facts["peak GPU memory"] = f"{torch.cuda.max_memory_allocated(device) / 2**20:.0f} MiB"
    run.facts["peak memory of the process"] = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB"
    run.facts["different actions seen"] = f"{len({tuple(row) for row in ids})} of {actions}"
    if device.type != "cuda":
        run.facts["decoder passes per action"] = f"{decoder_passes:.2f}"
    one_by_one(policy, frames, run)
    if compare and policy.model.config.state is None:
        against_transformers(policy, plain, frames[WARM_UP:], run, right)
    return run


def count_reads(policy: Policy) -> list[int]:
    """A list that grows by one whenever the decoder is run: once for the prompt, and for each pass over ids."""
    reads: list[int] = []
    original = policy.model.read

    def counted(*arguments: Any, **options: Any) -> Any:
        reads.append(1)
        return original(*arguments, **options)

    object.__setattr__(policy.model, "read", counted)
    return reads


def recorded_guesses(folder: Path, most: int = 400) -> list[int]:
    """How many of the first six ids magma-tiny has right, one after the other, when it guesses those of the picture
    before, along recorded episodes in order (files npz with frames, proprioception and an instruction)."""
    policy = magma_policy.load(SHIPPED, "cpu", torch.float32)
    found: list[int] = []
    for file in sorted(folder.glob("episodes/*.npz")):
        with np.load(file) as episode:
            frames, states, words = episode["frames"], episode["proprioception"], str(episode["instruction"])
        policy.reset()
        before: np.ndarray | None = None
        for frame, state in zip(frames, states, strict=True):
            ids = policy.act(frame, words, Proprioception.from_vector(state.astype(np.float64))).ids
            if before is not None:
                found.append(leading(before, ids))
            before = ids
        if len(found) >= most:
            break
    if not found:
        raise SystemExit(f"{folder}: no episodes of magma-tiny's robot with pictures")
    return found[:most]


def leading(guess: np.ndarray, ids: np.ndarray) -> int:
    """How many of the first six ids are right before the first wrong one; nothing is read behind the seventh."""
    return int((guess == ids)[:-1].cumprod().sum())


def guess_right(policy: Policy, ids: np.ndarray, count: int) -> None:
    """The next guess is right for so many ids, and wrong from there on."""
    guess = torch.from_numpy(ids.copy())
    guess[count:] = torch.where(guess[count:] == policy.model.first_action_id, 1, -1) + guess[count:]
    assert policy._session is not None
    policy._session.last_ids = guess


@torch.inference_mode()
def one_by_one(policy: Policy, frames: list[np.ndarray], run: Run) -> None:
    """Decoding without a draft, for the same weights and machine."""
    model = policy.model
    if model.config.state is not None or policy.device.type == "cuda":
        return
    for frame in frames[: max(5, len(frames) // 4)]:
        tiles, (rows, cols) = tile_image(frame, model.config.image)
        visual, levels = model.encode_image(tiles.to(policy.device, policy._dtype), rows, cols)
        ids = policy.tokenizer.encode(robot_prompt(INSTRUCTION, model.config.image_markers))
        prompt = torch.tensor([ids[policy._head.length :]], device=policy.device)
        prefix, _ = model.prefill(prompt, visual, levels, None, policy._head)
        started = clock(policy.device)
        decode_action_ids(model, prefix)
        run.add("decode one by one", (clock(policy.device) - started) * 1e3)


def against_transformers(policy: Policy, plain: Magma, frames: list[np.ndarray], run: Run, right: list[int]) -> None:
    """Adds the usual stack's times, and whether it gives the same ids; frame by frame in turns, ours and theirs. With
    `right` the guess for a frame is right for so many ids, taken evenly from all that are known."""
    act_with_transformers(policy, plain, frames[0])
    shown = frames[: max(5, len(frames) // 4)]
    if right:
        # Sorted, so that few frames meet as many right guesses as all of the recorded ones did.
        places = ((np.arange(len(shown)) + 0.5) / len(shown) * len(right)).astype(int)
        counts = np.random.default_rng(0).permutation(np.sort(right)[places])
        run.facts["ids right in the guess"] = f"{np.mean(right):.2f} of 6 over {len(right)} recorded pictures"
        run.facts["guesses wholly right"] = f"{np.mean(np.array(right) == DELTA_SIZE - 1):.2f}"
    equal, ours, theirs = 0, np.zeros((len(shown), 3)), np.zeros((len(shown), 3))
    for row, frame in enumerate(shown):
        if right:
            guess_right(policy, act_with_transformers(policy, plain, frame)[0], int(counts[row]))
        began, began_cpu = clock(policy.device), time.process_time()
        own = policy.act(frame, INSTRUCTION, None)
        language = own.stage_ms["prefill"] + own.stage_ms["decode"]
        ours[row] = (clock(policy.device) - began) * 1e3, (time.process_time() - began_cpu) * 1e3, language
        began_cpu = time.process_time()
        usual, stages = act_with_transformers(policy, plain, frame)
        theirs[row] = sum(stages.values()), (time.process_time() - began_cpu) * 1e3, stages["generate"]
        equal += int(np.array_equal(usual, own.ids))
        for name, value in stages.items():
            run.add(f"transformers {name}", value)
        run.add("transformers action", sum(stages.values()))
    wall, cpu, language = np.median(ours / theirs, axis=0)
    run.facts["time per action / transformers"] = f"{wall:.2f}, median of {len(shown)} pairs"
    run.facts["CPU time per action / transformers"] = f"{cpu:.2f}"
    run.facts["prompt and ids alone / transformers"] = f"{language:.2f}"
    run.facts["ids equal to transformers"] = f"{equal} of {len(shown)}"


def fp8_effect(policy: Policy, plain_ids: list[tuple[int, ...]], frames: list[np.ndarray]) -> str:
    """How many of the ids stay the same with other weights."""
    same = [
        int(a == b)
        for frame, row in zip(frames, plain_ids, strict=True)
        for a, b in zip(policy.act(frame, INSTRUCTION, None).ids.tolist(), row, strict=True)
    ]
    return f"{sum(same)} of {len(same)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="tiny, 100m, 8b, or folders of checkpoints")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default=None, choices=sorted(DTYPES))
    parser.add_argument("--quantization", default=None, choices=("int8", "int4", "fp8"))
    parser.add_argument("--robot", default=None, help="for a checkpoint that does not name its robot")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--actions", type=int, default=60)
    parser.add_argument("--alike", action="store_true", help="pictures that hardly change, for which a guess is right")
    parser.add_argument("--recorded", type=Path, help="folder of demonstrations from which guesses are taken")
    parser.add_argument("--no-compare", action="store_true", help="leave out transformers' generate")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    models = arguments.models or ["tiny", "100m", *(["8b"] if device.type == "cuda" else [])]
    if device.type != "cuda":
        print("no CUDA GPU: Magma-8B's shape is left out" if "8b" not in models else "Magma-8B's shape on a CPU")
    right = recorded_guesses(arguments.recorded) if arguments.recorded is not None else []
    runs = []
    for name in models:
        # The two ways of the large model are shown together: what FP8 saves, and what it does to the ids.
        kinds = [arguments.quantization]
        if name == "8b" and device.type == "cuda" and arguments.quantization is None:
            kinds = [None, "fp8"]
        plain_ids: list[tuple[int, ...]] = []
        for kind in kinds:
            dtype = pick_dtype(arguments.dtype, device, kind)
            if name in ("100m", "8b"):
                config = config_100m() if name == "100m" else magma_8b_config()
                policy, plain = random_policy(config, device, dtype, kind)
            else:
                path = SHIPPED if name == "tiny" else Path(name)
                policy = magma_policy.load(path, str(device), dtype, kind, robot=arguments.robot)
                plain = policy.model
                if device.type == "cpu" and kind is None:
                    plain = checkpoints.load(path, device, dtype, robot=arguments.robot).model
            label = f"{str(dtype).removeprefix('torch.')}{f' with {kind} weights' if kind else ''}"
            compare = not arguments.no_compare and kind is None
            alike, threads = arguments.alike, arguments.threads
            run = measure(policy, plain, arguments.actions, threads, compare, label, alike, right)
            frames = pictures(policy, 16)
            if kind == "fp8" and plain_ids:
                run.facts["ids equal to those without fp8"] = fp8_effect(policy, plain_ids, frames)
            elif name == "8b":
                plain_ids = [tuple(policy.act(frame, INSTRUCTION, None).ids.tolist()) for frame in frames]
            runs.append(run)
            print(run.table() + "\n", flush=True)
            del policy, plain
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([run.as_json() for run in runs], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
