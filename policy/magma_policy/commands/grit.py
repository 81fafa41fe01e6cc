"""`magma-grit PAIRS … --out OUT`: pictures with captions become captions whose phrases have boxes, in GRIT's schema.

magma-grit photos/ shards/*.tar --detector IDEA-Research/grounding-dino-tiny --out grit
magma-grit coyo_0_snappy.parquet --published --pictures photos --out grit
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from magma_contracts.errors import ConfigError
from magma_contracts.files.outputs import check_folder
from magma_eval.ray_option import RayOption, address_of
from magma_policy.commands.options import run_command


@dataclass(frozen=True)
class GritConfig:
    """Make GRIT records of pictures with captions. The same command again goes on after an interruption."""

    pairs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="PAIRS [PAIRS …]", help_behavior_hint="(required)"),
    ]
    """Folders of pictures (captions beside them as .txt, or in captions.jsonl), tar shards as webdataset and
    img2dataset write them, Parquet files, or sets of rendered scenes (magma-scenes), captioned by their truth."""
    out: Annotated[Path, tyro.conf.arg(help_behavior_hint="(required)")] = Path()
    """Folder of the records."""
    detector: str = "oracle"
    """What finds phrases: a zero-shot detector of transformers (a folder, or owner/name on the Hugging Face Hub:
    Grounding DINO, MM-Grounding-DINO, OWL-ViT, OWLv2), kosmos2:CHECKPOINT, or oracle for rendered scenes."""
    threshold: float | None = None
    """Smallest score of a box. Left out: the detector's own; the paper's 0.65 is of GLIP's scale."""
    overlap: float = 0.5
    """Of boxes of any phrases that overlap by more than this (intersection over union) only the surest stays."""
    spacy_model: str = ""
    """English model of spaCy: an installed one or a folder. Left out: en_core_web_sm, under either of its names."""
    published: bool = False
    """Read records that are there already, such as the published GRIT, and count what is missing."""
    pictures: Path | None = None
    """Of published records without pictures in them: the folder of these, by key or id."""
    expand_conjoined: bool = False
    """Nouns that have conjuncts grow, too, by what stands right behind them: "the block on the left and the spoon".
    The paper leaves them as they are."""
    agreement: bool = True
    """Of several boxes of "the block" those stay that are also found by the expression, "the block on the left". In
    the paper an expression has all boxes of its chunk."""
    drop_contained: bool = False
    """Leave out expressions that lie within others. Without, they stay, as in the published records; sequences never
    have them."""
    smallest_side: int = 0
    """Leave out pictures with a side below this (the paper: 200, for LAION's)."""
    sequences: bool = True
    """Also write the captions in the tags of KOSMOS-2, as it is trained on them."""
    tars: bool = False
    """Also write tar shards of the pictures with their records, which are all that training needs."""
    samples: int = 24
    """Records that are drawn, to be looked at."""
    processes: int = 1
    """That work side by side; each loads a parser and a detector."""
    ray: RayOption = None
    """Work on a Ray cluster (docs/scale.md), with --processes on all its machines together, which find PAIRS at the
    same place: its HOST:PORT, or auto where RAY_ADDRESS or a node of this machine tells. Without either a cluster of
    this machine is started."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the detector runs."""
    threads: int = 1
    """CPU threads of each process."""

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ConfigError("what are the records made of? magma-grit PAIRS --out OUT")
        if self.out == Path():
            raise ConfigError("--out OUT is needed")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ConfigError(f"--threshold is from 0 to 1, got {self.threshold}")
        try:
            address_of(self.ray)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not 0.0 < self.overlap <= 1.0:
            raise ConfigError(f"--overlap is above 0 and at most 1, got {self.overlap}")
        for name, least, most in (
            ("processes", 1, 256), ("threads", 1, 256), ("samples", 0, 10_000), ("smallest_side", 0, 10_000),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                option = name.replace("_", "-")
                raise ConfigError(f"--{option} is from {least} to {most}, got {getattr(self, name)}")
        if self.pictures is not None and not self.published:
            raise ConfigError("--pictures goes with --published")
        # Of published records nothing is chosen anew.
        making = ("detector", "threshold", "overlap", "spacy_model", "drop_contained", "smallest_side",
                  "expand_conjoined", "agreement")  # fmt: skip
        asked = [name for name in making if getattr(self, name) != getattr(type(self), name)]
        if self.published and asked:
            raise ConfigError(f"--{asked[0].replace('_', '-')} is for making records; --published ones stay")


def main() -> None:
    """Entry point."""
    sys.exit(run_command("magma-grit", lambda: make(tyro.cli(GritConfig, prog="magma-grit"))))


def make(config: GritConfig) -> int:
    """Makes the records; 0. Raises CommandError."""
    check_folder(config.out, "--out")
    # spaCy and the models; the command's help needs none of them.
    from magma_policy.grit.phrases import PhraseSettings
    from magma_policy.grit.pipeline import SelectionSettings
    from magma_policy.grit.run import GritRun, run

    asked = GritRun(
        sources=config.pairs,
        out=config.out,
        mode="published" if config.published else "make",
        pictures=config.pictures,
        detector=config.detector,
        device=config.device,
        threads=config.threads,
        model=config.spacy_model,
        phrases=PhraseSettings(expand_conjoined=config.expand_conjoined),
        selection=SelectionSettings(
            threshold=config.threshold,
            overlap=config.overlap,
            contained=not config.drop_contained,
            smallest_side=config.smallest_side,
            agreement=config.agreement,
        ),
        sequences=config.sequences,
        tars=config.tars,
        samples=config.samples,
    )
    with tqdm(unit="shard", disable=None) as bar:

        def told(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        counts = run(asked, config.processes, told, address_of(config.ray))
    print("\n".join(table(counts)))
    print(f"records, sequences and samples in {config.out}")
    return 0


def table(counts: Counter[str]) -> list[str]:
    """What came, what stayed, and what was dropped and why."""
    first = ("pairs", "chunks", "boxes", "records")
    rest = sorted(name for name in counts if name not in first)
    return [f"{counts[name]:>12,}  {name}" for name in (*first, *rest)]


if __name__ == "__main__":
    main()
