"""A policy as it is named on the command line.

The names are those of the whole project: a shipped checkpoint by its name (`magma-tiny`), the folder of one, `magma:`
or `openvla:` and either of these, the address of a policy server (`ws://host:port`, `openpi://host:port?model=FILE`,
`vla-eval://host:port?model=FILE`), `expert`, `hold` or `random`; here also `replay:FILE_OR_FOLDER`. Names are labels:
results are known by the policy's content (`Key.policy_identity`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from magma_contracts.policies import is_server
from magma_eval.benchmarks import benchmarks
from magma_eval.episodes import short_hash
from magma_eval.policies.scripted import SCRIPTED
from magma_policy_client.addresses import check_address
from magma_policy_client.checkpoint_paths import PREFIXES


def scripted_names() -> tuple[str, ...]:
    """Every name of a policy without a model: the arms' own, and what installed benchmarks add."""
    return tuple(dict.fromkeys((*SCRIPTED, *(name for benchmark in benchmarks() for name in benchmark.scripted))))


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
        if head in scripted_names() and self.text != head:
            raise ValueError(f"policy {head!r} takes no argument, got {self.text!r}")
        if self.kind == "magma" and not self.argument.strip():
            raise ValueError(f"policy {self.text!r} names no checkpoint; give its folder, or a name such as magma-tiny")
        if self.kind == "magma" and not self._is_checkpoint():
            raise ValueError(
                f"unknown policy {self.text!r}: no folder or checkpoint is called so; give the folder or name of "
                "a checkpoint (magma-tiny), with or without magma: before it, ws://host:port, openpi:// or vla-eval:// "
                "with ?model=FILE, expert, hold, random or replay:FILE_OR_FOLDER"
            )
        if self.kind == "replay" and not Path(self.argument).exists():
            raise ValueError(f"there is no recorded episode or folder {self.argument!r}")
        if self.on_server:
            check_address(self.text)
        if self.deadline_s <= 0 or self.threads < 0:
            raise ValueError("the deadline is above 0 s and threads are 0 or more")

    @property
    def kind(self) -> str:
        """The name of a scripted policy, replay, what an address begins with, or magma for all that is a checkpoint."""
        head = self.text.partition(":")[0]
        if is_server(self.text):
            return head.strip().lower()
        return head if head in (*scripted_names(), "replay") else "magma"

    @property
    def argument(self) -> str:
        """The recording or checkpoint: what stands behind `replay:`, `magma:` or `openvla:`, or the whole text."""
        head, _, rest = self.text.partition(":")
        argument = rest if head == "replay" or f"{head}:" in PREFIXES else self.text
        # Behind a colon no shell has replaced a ~ of a path.
        return os.path.expanduser(argument) if self.kind in ("magma", "replay") else argument

    def _is_checkpoint(self) -> bool:
        """Whether `argument` is a checkpoint, as far as this environment can tell: one of a server's own knows more."""
        if Path(self.argument).is_dir():
            return True
        if importlib.util.find_spec("magma_policy") is None:
            return os.sep not in self.argument and bool(os.environ.get("MAGMA_SERVE"))
        from magma_policy_client.checkpoint_paths import CheckpointNotFoundError, locate

        try:
            locate(self.argument)
        except CheckpointNotFoundError:
            return False
        return True

    @property
    def remote(self) -> bool:
        """Whether it is asked over a connection."""
        return self.kind == "magma" or self.on_server

    @property
    def on_server(self) -> bool:
        """Whether somebody else has started its server."""
        return is_server(self.text)

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
            head = self.text.partition(":")[0]
            kind = head if f"{head}:" in PREFIXES else self.kind
            return f"{kind}:{Path(self.argument).resolve().name}"
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
        from magma_policy_client.checkpoint_paths import locate

        return Path(locate(self.argument))

    @property
    def where(self) -> str:
        """Where it is, for people: an absolute path, or the text itself."""
        return str(self._folder().resolve()) if self.kind in ("magma", "replay") else self.text

    def training(self) -> str:
        """How the policy was trained, from its own card; "" when it does not say."""
        if self.kind != "magma":
            return "none (scripted)" if self.kind in scripted_names() else ""
        card = self._folder() / "README.md"
        if not card.is_file():
            return ""
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines():
            # "training: in-domain simulation", alone or as a row of a table
            key, colon, value = line.strip(" -*|").partition("|" if line.startswith("|") else ":")
            if colon and key.strip(" *").lower() == "training":
                return value.strip(" *|")
        return ""


def located(choice: PolicyChoice) -> PolicyChoice:
    """The same policy under the same label, whose files are found from any folder of a machine that has them."""
    path = Path(choice.argument)
    if choice.kind not in ("magma", "replay") or not path.exists():
        return choice
    head = choice.text.partition(":")[0]
    prefix = f"{head}:" if head == "replay" or f"{head}:" in PREFIXES else ""
    return dataclasses.replace(choice, text=f"{prefix}{path.resolve()}", name=choice.label)


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
