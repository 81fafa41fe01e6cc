#!/usr/bin/env bash
# An environment of its own for lmms-eval, which asks a served model: `./run setup-lmms-eval [FOLDER]`.
set -euo pipefail
ROOT=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
FOLDER=$(realpath -ms -- "${1:-$ROOT/.venv-lmms-eval}")
LMMS_EVAL=lmms-eval==0.7.3
# shellcheck source=setup/torch.sh
source "$ROOT/setup/torch.sh"

die() { printf 'run: %s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3; do
        command -v "$candidate" >/dev/null || continue
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo "$candidate"; return; }
    done
    die "no python3.11 or python3.12 found, which the pinned packages of lmms-eval have wheels for; please install one"
}

install() { "$FOLDER/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off --quiet "$@"; }

[ $# -le 1 ] || die "setup-lmms-eval takes one folder at most"
"$FOLDER/bin/python" -c '' 2>/dev/null || "$(find_python)" -m venv "$FOLDER"
if ! "$FOLDER/bin/python" -c "import importlib.metadata as m; raise SystemExit(m.version('torch').split('+')[0] != '${TORCH#*==}')" 2>/dev/null; then
    # It only calls models that are served elsewhere: the CPU build, which is small, will do on every machine.
    install --no-deps --retries 1 --index-url "$TORCH_CPU_INDEX" "$TORCH" || install --no-deps "$TORCH"
fi
# Its metadata asks for torchvision, timm, decord and more, for models that would run inside it.
install --no-deps "$LMMS_EVAL"
install -r "$ROOT/setup/lmms_eval.txt"
# What reads answers, for the tasks that lmms-eval lacks; nothing else of this repository is called there.
install --no-deps -e "$ROOT/ros2_ws/src/magma_contracts" -e "$ROOT/sim/magma_eval"
"$FOLDER/bin/python" -c "import lmms_eval, magma_eval.questions.lmms_tasks.utils"
printf '%s\n' "lmms-eval is in $FOLDER. With a model served (./run exec magma-serve magma-tiny):" \
    "  export OPENAI_API_BASE=http://127.0.0.1:8765/v1 OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_API_KEY=unused" \
    "  $FOLDER/bin/python -m lmms_eval --model openai --model_args model_version=magma-tiny --tasks vsr --batch_size 1 \\" \
    "    --include_path $ROOT/sim/magma_eval/magma_eval/questions/lmms_tasks --log_samples --output_path runs/questions" \
    "  ./run exec magma-eval report runs/questions"
