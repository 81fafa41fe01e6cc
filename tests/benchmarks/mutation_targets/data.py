"""What models learn from and look at: demonstrations, states of training runs, pictures, videos."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from file_mutations import Reading, Target, digest
from mutation_edits import bytes_edits, json_edits, line_edits, npy_edits, safetensors_edits, zip_edits
from PIL import Image

from magma_policy.commands.chat import read_boxes
from magma_policy.demonstrations.data_card import DataCard
from magma_policy.demonstrations.episode_file import DemonstrationError
from magma_policy.demonstrations.reader import read_demonstrations
from magma_policy.demonstrations.sources import list_episodes
from magma_policy.errors import CommandError
from magma_policy.files.image_files import array_hash, read_image
from magma_policy.files.video_files import read_video, sample_video
from magma_policy.training.loop import saved_run
from magma_policy.training.loop.saved_run import SavedRunError

SIDE = 8
STEPS = 3

# Demonstrations.


def _demonstrations(folder: Path) -> Path:
    card = {
        "camera_intrinsics": [[9.0, 0, 4], [0, 9.0, 4], [0, 0, 1]],
        "camera_extrinsics_base_to_optical": [[0, -1, 0, 0], [-1, 0, 0, 0.5], [0, 0, -1, 0.8], [0, 0, 0, 1]],
        "image_size": SIDE, "table_height_m": 0.0, "step_period_s": 0.2, "robot": "arm",
        "objects": {"food": {"noun": "carrot", "colour": "orange"}},
    }  # fmt: skip
    (folder / "episodes").mkdir()
    (folder / "card.json").write_text(json.dumps(card))
    rng = np.random.default_rng(0)
    state = np.zeros((STEPS, 16), np.float32)
    state[:, [3, 10]] = 1
    for number in range(1):
        np.savez_compressed(
            folder / "episodes" / f"{number}.npz",
            proprioception=state,
            actions=rng.uniform(0, 0.05, (STEPS, 7)).astype(np.float32),
            marks=rng.uniform(1, 7, (STEPS, 4, 2)).astype(np.float32),
            frames=rng.integers(0, 256, (STEPS, SIDE, SIDE, 3), dtype=np.uint8),
            object_names=np.array(["food"]),
            object_positions=np.full((STEPS, 1, 3), 0.1, np.float32),
            weights=np.ones(STEPS),
            instruction=np.array("put it down"),
        )
    return folder


def _episode(folder: Path) -> Path:
    return _demonstrations(folder) / "episodes" / "0.npz"


def _card(folder: Path) -> Path:
    return _demonstrations(folder) / "card.json"


def _read_demonstrations(folder: Path) -> Reading:
    demos = read_demonstrations([folder])
    arrays = (
        demos.frames, demos.frame_index, demos.proprioception, demos.actions, demos.marks, demos.instruction,
        demos.onset, demos.weight, demos.object_marks,
    )  # fmt: skip
    known = (digest(*(a.tobytes() for a in arrays)), demos.cards, demos.instructions, demos.objects)
    return Reading(known, demos.identity)


def _read_episode(path: Path) -> Reading:
    return _read_demonstrations(path.parents[1])


def _read_card(path: Path) -> Reading:
    DataCard.read(path.parent)
    list_episodes(path.parent)
    return _read_demonstrations(path.parent)


# States of training runs.


def _run() -> tuple[dict[str, torch.nn.Parameter], dict[str, torch.Tensor], torch.optim.Optimizer]:
    torch.manual_seed(0)
    parameters = {name: torch.nn.Parameter(torch.randn(size)) for name, size in (("w", (4, 3)), ("b", (3,)))}
    optimizer = torch.optim.AdamW(parameters.values())
    sum(p.square().sum() for p in parameters.values()).backward()
    optimizer.step()
    return parameters, {name: p.detach().clone() for name, p in parameters.items()}, optimizer


def _state(folder: Path) -> Path:
    history = {"loss": [{"step": 1, "action": 0.5}], "validation": [], "success": []}
    saved_run.save(folder, *_run(), {"step": 1, "history": history, "init": "", "skipped": 0})
    return folder / saved_run.FILE


def _read_state(path: Path) -> Reading:
    parameters, average, optimizer = _run()
    scalars = saved_run.restore(path.parent, parameters, average, optimizer)
    moments = [v for p in parameters.values() for _, v in sorted(optimizer.state[p].items())]
    tensors = [*parameters.values(), *average.values(), *moments]
    return Reading((digest(*(t.detach().numpy().tobytes() for t in tensors)), scalars), "")


# Boxes.


def _boxes(folder: Path) -> Path:
    (folder / "boxes.json").write_text("[[1, 2, 30, 40], [5.5, 6, 70, 80]]")
    return folder / "boxes.json"


def _read_boxes(path: Path) -> Reading:
    boxes = read_boxes(path)
    return Reading(boxes.tolist(), array_hash(boxes))


# Pictures and videos.


def _picture(kind: str, mode: str = "RGB") -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        rng = np.random.default_rng(0)
        if mode == "I;16":
            picture = Image.fromarray(rng.integers(0, 65536, (20, 30), dtype=np.uint16))
        else:
            picture = Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)).convert(mode)
        exif = Image.Exif()
        exif[0x112] = 6
        more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
        out = io.BytesIO()
        picture.save(out, kind, **more)
        (folder / "picture").write_bytes(out.getvalue())
        return folder / "picture"

    return seed


def _read_picture(path: Path) -> Reading:
    pixels = read_image(path)
    return Reading((pixels.shape, digest(pixels.tobytes())), array_hash(pixels))


def _film(name: str, codec: str, layout: str) -> Callable[[Path], Path]:
    def seed(folder: Path) -> Path:
        # In a child: encoders keep threads, with which this process could not be forked safely any more.
        child = os.fork()
        if child == 0:
            try:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                _encode(folder / name, codec, layout)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return folder / name

    return seed


def _encode(path: Path, codec: str, layout: str) -> None:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, layout
        stream.codec_context.time_base = Fraction(1, 10)
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def _read_film(path: Path) -> Reading:
    shown = []
    for step in (1, 3):
        parts = [(p.shape, digest(p.tobytes())) for p in read_video(path, step)]
        shown.append((len(parts), digest(repr(parts).encode())))
    sampled = [(time_s, p.shape, digest(p.tobytes())) for time_s, p in sample_video(path, 4)]
    shown.append((len(sampled), digest(repr(sampled).encode())))
    return Reading(shown, digest(path.read_bytes()))


NPZ_EDITS = (bytes_edits, zip_edits(npy_edits), zip_edits(bytes_edits))
PICTURES = (
    ("png", "PNG", "RGBA"), ("png-grey16", "PNG", "I;16"), ("png-palette", "PNG", "P"), ("jpeg", "JPEG", "RGB"),
    ("jpeg-cmyk", "JPEG", "CMYK"), ("webp", "WEBP", "RGBA"), ("gif", "GIF", "P"), ("bmp", "BMP", "RGB"),
    ("tiff", "TIFF", "RGB"), ("tiff-grey16", "TIFF", "I;16"), ("ppm", "PPM", "RGB"), ("ico", "ICO", "RGBA"),
    ("jpeg2000", "JPEG2000", "RGB"),
)  # fmt: skip
FILMS = (
    ("mp4", "x.mp4", "libx264", "yuv420p"), ("mkv", "x.mkv", "libx264", "yuv420p"),
    ("hevc", "x.mp4", "libx265", "yuv420p"), ("av1", "x.mp4", "libsvtav1", "yuv420p"),
    ("webm", "x.webm", "libvpx-vp9", "yuv420p"), ("avi", "x.avi", "mjpeg", "yuvj420p"),
    ("ts", "x.ts", "libx264", "yuv420p"), ("mov-png", "x.mov", "png", "rgb24"), ("gif-film", "x.gif", "gif", "rgb8"),
    ("flv", "x.flv", "flv1", "yuv420p"), ("ffv1", "x.mkv", "ffv1", "bgr0"), ("mpeg", "x.mpg", "mpeg2video", "yuv420p"),
)  # fmt: skip

TARGETS = [
    Target("episode", _episode, _read_episode, (DemonstrationError,), NPZ_EDITS),
    Target("card", _card, _read_card, (DemonstrationError,), (bytes_edits, line_edits, json_edits)),
    Target("training-state", _state, _read_state, (SavedRunError,), (bytes_edits, safetensors_edits)),
    Target("boxes", _boxes, _read_boxes, (CommandError,), (bytes_edits, line_edits, json_edits)),
    *(
        Target(f"picture-{name}", _picture(kind, mode), _read_picture, (CommandError,), (bytes_edits,))
        for name, kind, mode in PICTURES
    ),
    *(
        Target(f"film-{name}", _film(file, codec, layout), _read_film, (CommandError,), (bytes_edits,))
        for name, file, codec, layout in FILMS
    ),
]
