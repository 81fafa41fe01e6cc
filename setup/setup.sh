# shellcheck shell=bash
# What `./run` sets up; sourced by it. Expects ROOT, VENV, PYTHON, die and say.

# shellcheck source=setup/torch.sh
source "$(dirname "${BASH_SOURCE[0]}")/torch.sh"

SETUP_LOG=$VENV/setup.log
CONSTRAINTS=$ROOT/setup/constraints.txt
BACKPORTS=/etc/apt/sources.list.d/magma-bookworm-backports.list

find_python() {
    local candidate
    for candidate in python3 python3.12 python3.11 python3.10; do
        command -v "$candidate" >/dev/null || continue
        "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' && { echo "$candidate"; return; }
    done
    die "no python3 between 3.10 and 3.12 found (SAPIEN and ManiSkill have no wheels for others); please install one"
}

# Programs in the environment name its Python in their first line, and PATH names its folder.
check_path() {
    case $VENV in
        *:* | *$'\n'*) die "the path $VENV has a colon or a line break, which PATH cannot hold; please move or rename the folder" ;;
        *' '*) case $VENV in *[\"\$\`\\]*)
            die "the path $VENV has spaces and one of \" \$ \` \\, which no program's first line bears; please move or rename the folder" ;;
        esac ;;
    esac
}

# How it is shown

# now: what the step does, in one line: the last one of the log, or how far pip's silent installation is.
now() {
    local line packages
    line=$(tail -c 9000 "$SETUP_LOG" | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v -e '^ *$' -e '^WARNING' | tail -n 1)
    if [[ $line = "Installing collected packages"* ]]; then
        packages=("$VENV"/lib/python3*/site-packages/*.dist-info)
        line="installing; ${#packages[@]} packages are there"
    fi
    printf '%s' "$line"
}

# watch_step TITLE: until it is killed, shows how long the step takes and what it does.
watch_step() {
    local begin=$SECONDS next=10 took width
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        took=$((SECONDS - begin))
        if [ -t 1 ]; then
            width=$(stty size 2>/dev/null </dev/tty | cut -d' ' -f2)
            width=$((${width:-80} > 56 ? ${width:-80} - 55 : 1))
            printf '\r\033[K  %-42s %3d s  %.*s' "$1" "$took" "$width" "$(now)"
        elif [ "$took" -ge $next ]; then
            printf '    … %d s: %.90s\n' "$took" "$(now)"
            next=$((took + 10))
        fi
    done
}

# notice TEXT…: tells a person something from within a step, whose output goes to the log.
notice() { printf '%s    %s\n' "$(if [ -t 3 ]; then printf '\r\033[K'; fi)" "$*" >&3; }

# step TITLE FUNCTION…: runs the function with its output in the log.
step() {
    local title=$1 begin=$SECONDS status; shift
    if [ -t 1 ]; then printf '  %-42s' "$title"; else printf '  %s\n' "$title"; fi
    watch_step "$title" & WATCHER=$!
    # A plain call in a subshell, so that `set -e` holds inside (it would not within `if` or `||`).
    set +e; (set -e; "$@") 3>&1 >>"$SETUP_LOG" 2>&1; status=$?; set -e
    end_watcher
    if [ -t 1 ]; then printf '\r\033[K  %-42s' "$title"; else printf '    done,'; fi
    if [ $status = 0 ]; then printf ' %3d s\n' "$((SECONDS - begin))"
    else
        printf ' failed\n'; tail -n 25 "$SETUP_LOG" >&2
        die "set-up failed in «$title»; the whole log is in $SETUP_LOG"
    fi
}

end_watcher() {
    [ -n "${WATCHER:-}" ] || return 0
    kill "$WATCHER" 2>/dev/null || true
    wait "$WATCHER" 2>/dev/null || true
    WATCHER=
}

# System packages: an entry of a list may name the release it comes from, as in mesa-vulkan-drivers/bookworm-backports.

backports_are_known() { apt-cache policy 2>/dev/null | grep -q 'bookworm-backports'; }

backports_line() {
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Suite: bookworm' 2>/dev/null | sort -u | head -n 1)
    echo "deb ${mirror:-http://deb.debian.org/debian} bookworm-backports main"
}

# ask_for REASON PACKAGES…: ends with all that somebody with the right to it has to install.
ask_for() {
    local reason=$1 entry plain=() newer=(); shift
    for entry; do case $entry in */*) newer+=("${entry%/*}") ;; *) plain+=("$entry") ;; esac; done
    say "This machine lacks system packages, and $reason. Please have all of these installed: ${*/%\/*/ (from bookworm-backports)}"
    say "As root, on Debian and Ubuntu:"
    if [ ${#newer[@]} != 0 ] && ! backports_are_known; then say "  echo '$(backports_line)' > $BACKPORTS"; fi
    say "  apt-get update"
    [ ${#plain[@]} = 0 ] || say "  apt-get install --no-install-recommends ${plain[*]}"
    [ ${#newer[@]} = 0 ] || say "  apt-get install --no-install-recommends -t bookworm-backports ${newer[*]}"
    die "run this again when they are there"
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# why_not_root: why system packages cannot be installed here; nothing when they can. May ask for sudo's password.
why_not_root() {
    if [ -n "${MAGMA_NO_APT:-}" ]; then echo "MAGMA_NO_APT forbids installing them"
    elif ! command -v apt-get >/dev/null; then echo "there is no apt-get here (elsewhere they have other names)"
    elif [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v >&2; }; }; }; then :
    elif command -v sudo >/dev/null; then echo "sudo is not allowed to install them here"
    else echo "there is neither root nor sudo to install them"
    fi
}

apt_install() { # packages…
    local entry plain=() newer=()
    for entry; do case $entry in */*) newer+=("${entry%/*}") ;; *) plain+=("$entry") ;; esac; done
    if [ ${#newer[@]} != 0 ] && ! backports_are_known; then backports_line | as_root tee "$BACKPORTS"; fi
    as_root apt-get update -q
    local get=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends)
    [ ${#plain[@]} = 0 ] || as_root "${get[@]}" "${plain[@]}"
    # Debian 12's own Mesa (22.3) lacks a descriptor feature SAPIEN needs; backports carry a newer one.
    [ ${#newer[@]} = 0 ] || as_root "${get[@]}" -t bookworm-backports "${newer[@]}"
}

# need_packages PACKAGES…: installs them, or ends with what to ask for.
need_packages() {
    [ $# != 0 ] || return 0
    local reason
    say "  System packages that are missing: $*"
    reason=$(why_not_root)
    [ -z "$reason" ] || ask_for "$reason" "$@"
    if [[ $* = */bookworm-backports* ]] && ! backports_are_known; then
        say "  For these, Debian's backports are added to apt in $BACKPORTS;"
        say "  to take that back, as root: rm $BACKPORTS && apt-get update"
    fi
    mkdir -p "$VENV"
    step "System packages" apt_install "$@"
}

missing_packages() { # options of system_packages.py
    local text; text=$("$PYTHON" "$ROOT/setup/system_packages.py" "$@") && mapfile -t MISSING < <(printf '%s' "$text")
}

# Python packages

pip_install() { "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@"; }

make_venv() {
    "$VENV/bin/python" -c '' 2>/dev/null || "$PYTHON" -m venv "$VENV"
    # The pip that came with Python may be too old for constraints with hashes; it takes them as requirements.
    sed -n '/^pip==/,/[^\\]$/p' "$CONSTRAINTS" >"$VENV/pip.txt"
    pip_install --require-hashes -r "$VENV/pip.txt"
    pip_install -c "$CONSTRAINTS" -r "$ROOT/setup/build_tools.txt"
    # For what has no hash, because it does not come from the index: the versions alone.
    sed -n 's/ *\\$//; /^[A-Za-z0-9].*==/p' "$CONSTRAINTS" >"$VENV/versions.txt"
}

install_torch() {
    if "$VENV/bin/python" -c "import importlib.metadata as m; raise SystemExit(m.version('torch').split('+')[0] != '${TORCH#*==}')" \
        2>/dev/null; then return; fi
    # Without an NVIDIA GPU the CPU build saves several GB. It alone comes from that index; what it needs is pinned and
    # comes later, with everything else.
    if ! command -v nvidia-smi >/dev/null; then
        if pip_install --no-deps --retries 1 --index-url "$TORCH_CPU_INDEX" "$TORCH"; then return; fi
        notice "$TORCH_CPU_INDEX has no build for this machine or cannot be reached: the CUDA build, several GB, is taken instead"
    fi
    pip_install -c "$VENV/versions.txt" "$TORCH"
}

install_requirements() { # extras…
    local requirements=$VENV/requirements.txt
    "$VENV/bin/python" "$ROOT/setup/requirements.py" "$@" >"$requirements"
    # Wheels only: nothing is run to install them. What is imported is compiled then; compiling all of it at once takes
    # as long as everything else.
    pip_install --no-compile --only-binary :all: -c "$CONSTRAINTS" -r "$requirements"
    "$VENV/bin/python" "$ROOT/setup/requirements.py" --unlocked "$@" >"$requirements"
    if [ -s "$requirements" ]; then
        echo "setup/constraints.txt does not pin these yet (setup/lock.py does):"; cat "$requirements"
        pip_install -c "$VENV/versions.txt" -r "$requirements"
    fi
}

install_own() {
    cd "$ROOT"
    pip_install --no-deps --no-build-isolation -e ros2_ws/rclpy_dds -e ros2_ws/src/magma_contracts -e ros2_ws/src/magma_data -e policy/client \
        -e sim/magma_eval -e sim -e policy
    "$VENV/bin/rclpy-dds" install ros2_ws/src
}

unpack_pages() { # the pages of the suites that are played in a browser
    local pages=$VENV/share/magma/miniwob wheel=$VENV/pages
    [ ! -e "$pages/html/miniwob/click-test.html" ] || return 0
    rm -rf "$wheel" "$pages"
    "$VENV/bin/python" -m pip download --disable-pip-version-check --no-input --progress-bar off --no-deps --only-binary :all: \
        --require-hashes -d "$wheel" -r "$ROOT/setup/pages.txt"
    "$VENV/bin/python" -m zipfile -e "$wheel"/miniwob-*.whl "$wheel/unpacked"
    mkdir -p "$pages"
    mv "$wheel/unpacked/miniwob/html" "$pages/html"
    rm -r "$wheel"
}

try_imports() {
    "$VENV/bin/python" -m pip check
    (cd / && "$VENV/bin/python" "$ROOT/setup/imports.py")
}

can_render() { "$VENV/bin/python" -m magma_sim.render_check; }

fingerprint() { # changes when anything that set-up installs from changes
    cd "$ROOT"
    { "$PYTHON" --version; echo "$VENV"
      find setup tests/requirements.txt policy/pyproject.toml policy/client/pyproject.toml sim/pyproject.toml sim/magma_eval/pyproject.toml \
          ros2_ws/rclpy_dds/pyproject.toml ros2_ws/src launch -type f '(' -name pyproject.toml -o -name 'setup.*' -o -name package.xml \
          -o -name '*.msg' -o -name '*.srv' -o -name '*.action' -o -path 'setup/*' -not -name '*.pyc' -o -path 'launch/*' \
          -o -name requirements.txt ')' -print0 |
          sort -z | xargs -0 sha256sum; } | sha256sum | cut -d' ' -f1
}

# setup EXTRAS…: makes what is missing; extras that were asked for once stay.
setup() {
    local stamp=$VENV/.magma-setup want have='' before extras='' begin=$SECONDS
    check_path
    PYTHON=$(find_python)
    want=$(fingerprint)
    if [ -r "$stamp" ]; then { read -r have && read -r extras; } <"$stamp" || true; fi
    before=$extras
    # shellcheck disable=SC2086
    extras=$(printf '%s\n' $extras "$@" | sort -u | xargs)
    [[ " $extras " != *" all "* ]] || extras=all
    if [ "$have" = "$want" ] && [ "$extras" = "$before" ]; then return; fi
    say "Setting up (only what is missing; log: $SETUP_LOG):"
    trap end_watcher EXIT
    [ ! -d "$VENV" ] || : >"$SETUP_LOG"
    # Who asks for everything wants to run the tests.
    if [ "$extras" = all ]; then missing_packages --tests; else missing_packages; fi
    need_packages "${MISSING[@]}"
    mkdir -p "$VENV"
    step "Python environment" make_venv
    # shellcheck disable=SC2086
    "$VENV/bin/python" "$ROOT/setup/requirements.py" $extras >/dev/null || exit
    step "PyTorch" install_torch
    # shellcheck disable=SC2086
    step "Packages from the index" install_requirements $extras
    step "This repository's packages" install_own
    case " $extras " in *" all "*|*" screens "*) step "Pages of MiniWoB++" unpack_pages ;; esac
    step "Trying every import" try_imports
    if ! can_render >>"$SETUP_LOG" 2>&1; then
        # A driver is there, and yet nothing renders: only now is that known.
        need_packages "$("$PYTHON" "$ROOT/setup/system_packages.py" --vulkan)"
        step "A Vulkan device that renders" can_render
    fi
    printf '%s\n%s\n' "$want" "$extras" >"$stamp"
    say "Ready after $((SECONDS - begin)) s."
}

need_compiler() { # for the Vulkan layer that lets SAPIEN 2.2.2 render without a GPU
    local packages=()
    if ! command -v cc >/dev/null || [ ! -e /usr/include/vulkan/vk_layer.h ]; then packages+=(gcc libc6-dev libvulkan-dev); fi
    command -v git >/dev/null || packages+=(git)
    need_packages "${packages[@]}"
}
