"""Stock tasks of lmms-eval on rows made here, in the published schemas, against a served model: the whole way, tried.

    ./run exec magma-serve magma-tiny &
    .venv-lmms-eval/bin/python tests/benchmarks/lmms_eval_rows.py --out runs/questions --model magma-tiny
    ./run exec magma-eval report runs/questions

Needs the environment of `./run setup-lmms-eval`; nothing is fetched. The questions are about coloured discs and say
nothing about any benchmark.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "yellow": (220, 200, 40)}
TASKS = {"pope": "pope/pope.yaml", "mme": "mme/mme.yaml", "blink_counting": "blink/blink_counting.yaml",
         "chartqa": "chartqa/chartqa.yaml", "spatialeval_vqa": ""}  # fmt: skip


def rows_of(task: str, count: int) -> list[dict[str, Any]]:
    """So many rows of a task in its published schema."""
    dice = random.Random(task)
    return [_row(task, number, dice) for number in range(count)]


def _row(task: str, number: int, dice: random.Random) -> dict[str, Any]:
    from PIL import Image, ImageDraw

    if task == "mme":
        dice = random.Random(number // 2)  # two questions about one picture
    names = list(COLOURS)
    colour, many = dice.choice(names), dice.randrange(1, 5)
    picture = Image.new("RGB", (128, 128), (240, 240, 240))
    for place in range(many):
        ImageDraw.Draw(picture).ellipse((8 + 30 * place, 50, 34 + 30 * place, 76), fill=COLOURS[colour])
    asked = colour if number % 2 else names[(names.index(colour) + 1) % 4]
    answer = "yes" if asked == colour else "no"
    question = f"Is there a {asked} disc in the picture?"
    if task == "pope":
        return {"id": str(number), "question_id": str(number), "question": question, "answer": answer,
                "image_source": f"{number}", "image": picture, "category": "random"}  # fmt: skip
    if task == "mme":
        return {"question_id": f"color/{number // 2:06}.jpg", "image": picture, "category": "color",
                "question": f"{question} Please answer yes or no.", "answer": answer.capitalize()}  # fmt: skip
    options = ["1", "2", "3", "4"]
    lines = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCD", options, strict=True))
    letter = "ABCD"[many - 1]
    if task == "blink_counting":
        return {"idx": f"val_Counting_{number}", "question": "How many discs are there?", "sub_task": "Counting",
                "image_1": picture, "image_2": None, "image_3": None, "image_4": None, "choices": options,
                "prompt": f"How many discs are there?\nSelect from the following choices.\n{lines}",
                "answer": f"({letter})", "explanation": ""}  # fmt: skip
    if task == "chartqa":
        return {"type": "human_test", "question": "How many discs are there?", "answer": str(many), "image": picture}
    return {"id": f"spatialmap.vqa.{number}.0", "image": picture, "text": f"How many discs are there?\n{lines}",
            "oracle_answer": str(many), "oracle_option": letter, "oracle_full_answer": f"{letter}. {many}"}  # fmt: skip


def write(folder: Path, count: int) -> list[str]:
    """Rows as parquet files, and task files that read them; the names of the tasks."""
    import lmms_eval.tasks
    from datasets import Dataset, Image

    from magma_eval.questions import lmms_tasks

    stock = Path(lmms_eval.tasks.__file__).parent
    names = []
    for task, file in TASKS.items():
        rows = rows_of(task, count)
        data = Dataset.from_list([{key: value for key, value in row.items() if value is not None} for row in rows])
        for column in [name for name in data.column_names if name.startswith("image") and name != "image_source"]:
            data = data.cast_column(column, Image())
        path = folder / f"{task}.parquet"
        data.to_parquet(path)
        included = stock / file if file else Path(lmms_tasks.__file__).parent / f"{task}.yaml"
        (folder / f"{task}_local.yaml").write_text(
            f"include: {included}\ntask: {task}_local\ndataset_path: parquet\ndataset_name: null\n"
            f"dataset_kwargs:\n  data_files:\n    test: {path}\ntest_split: test\n",
            encoding="utf-8",
        )
        names.append(f"{task}_local")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows and samples")
    parser.add_argument("--url", default="http://127.0.0.1:8765/v1", help="of the chat endpoint")
    parser.add_argument("--model", default="magma-tiny", help="as the endpoint names it")
    parser.add_argument("--rows", type=int, default=20, help="of each task")
    options = parser.parse_args()
    folder = options.out.resolve()
    (folder / "tasks").mkdir(parents=True, exist_ok=True)
    names = write(folder / "tasks", options.rows)
    environment = os.environ | {
        "OPENAI_API_BASE": options.url, "OPENAI_BASE_URL": options.url, "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": os.environ.get("MAGMA_SERVE_TOKEN", "unused"),
    }  # fmt: skip
    command = [sys.executable, "-m", "lmms_eval", "--model", "openai", "--model_args", f"model_version={options.model}",
               "--tasks", ",".join(names), "--include_path", str(folder / "tasks"), "--batch_size", "1",
               "--log_samples", "--output_path", str(folder)]  # fmt: skip
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
