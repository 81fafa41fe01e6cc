#!/usr/bin/env bash
# `./run setup --ros2 PREFIX [ENVIRONMENT]`: builds the workspace on a ROS 2 installation, with what its nodes need from PyPI.
#
# PREFIX is the installation, such as /opt/ros/jazzy. ENVIRONMENT (default: .venv-ros2 beside `run`) gets everything: a
# virtual environment that sees the installation's Python packages, the built workspace, and `setup.bash` to source.
set -euo pipefail
ROOT=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
# shellcheck source=setup/torch.sh
source "$ROOT/setup/torch.sh"

die() { printf 'run: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*"; }

[ $# = 1 ] || [ $# = 2 ] || die "setup --ros2 needs the folder of a ROS 2 installation, such as /opt/ros/jazzy"
PREFIX=$(realpath -s -- "$1")
VENV=$(realpath -ms -- "${2:-$ROOT/.venv-ros2}")
[ -r "$PREFIX/setup.bash" ] || die "$PREFIX is no ROS 2 installation: it has no setup.bash"
mkdir -p "$VENV"
LOG=$VENV/setup.log
: >"$LOG"

# step TITLE FUNCTION: runs the function with its output in the log.
step() {
    local begin=$SECONDS status
    printf '  %-50s ' "$1"
    set +e; (set -e; "$2") >>"$LOG" 2>&1; status=$?; set -e
    if [ $status = 0 ]; then printf '%4d s\n' "$((SECONDS - begin))"; return; fi
    printf 'failed\n'; tail -n 25 "$LOG" >&2
    die "set-up failed in «$1»; the whole log is in $LOG"
}

# The installation's own Python: its compiled packages fit no other. Another environment that is active steps aside.
PATH=$(IFS=:; for entry in $PATH; do
    [ "$entry" = "${VIRTUAL_ENV:-/nowhere}/bin" ] || [ "$entry" = "$VENV/bin" ] || printf '%s:' "$entry"
done)
PATH=${PATH%:}
unset VIRTUAL_ENV PYTHONHOME AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH PYTHONPATH
set +u
# shellcheck disable=SC1091
source "$PREFIX/setup.bash"
set -u
PYTHON=
for candidate in python3 /usr/bin/python3 python3.12 python3.10 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import rclpy.node' 2>>"$LOG"; then
        PYTHON=$(command -v "$candidate"); break
    fi
done
[ -n "$PYTHON" ] || die "no python3 here can import rclpy of $PREFIX; what was tried is in $LOG"
"$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' ||
    die "$PREFIX is for $("$PYTHON" --version), and SAPIEN and ManiSkill have wheels for Python 3.10 to 3.12 only"

make_environment() {
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv --system-site-packages "$VENV"
    "$VENV/bin/python" -m pip install -q --upgrade 'pip>=24'
    # The installation's messages are compiled for one major version of numpy.
    "$VENV/bin/python" -c 'import numpy; print("numpy<%d" % (int(numpy.__version__.split(".")[0]) + 1))' >"$VENV/constraints.txt"
}

install_packages() {
    # That build alone comes from that index; what it needs comes from the usual one.
    command -v nvidia-smi >/dev/null ||
        "$VENV/bin/python" -m pip install -q --no-deps --retries 1 --index-url "$TORCH_CPU_INDEX" "$TORCH" || true
    "$VENV/bin/python" -m pip install -q -c "$VENV/constraints.txt" "$TORCH"
    # With the console: `console:=true` is an argument of the launch file as any other.
    "$VENV/bin/python" "$ROOT/setup/requirements.py" --workspace console >"$VENV/requirements.txt"
    "$VENV/bin/python" -m pip install -q -c "$VENV/constraints.txt" -r "$VENV/requirements.txt" \
        -e "$ROOT/ros2_ws/src/magma_contracts" -e "$ROOT/ros2_ws/src/magma_data" -e "$ROOT/policy/client" -e "$ROOT/sim/magma_eval" -e "$ROOT/sim" \
        -e "$ROOT/policy"
    # What colcon and the generators of messages import, where the installation does not bring it.
    local module package
    for module in colcon_core:colcon-common-extensions em:empy==3.3.4 lark:lark catkin_pkg:catkin_pkg; do
        package=${module#*:}; module=${module%%:*}
        "$VENV/bin/python" -c "import $module" 2>/dev/null || "$VENV/bin/python" -m pip install -q "$package"
    done
}

build_workspace() {
    # What was built from another place, or before this folder was moved, names files that are not there.
    [ "$(cat "$VENV/built_from" 2>/dev/null)" = "$ROOT" ] || rm -rf "$VENV/build" "$VENV/install"
    printf '%s\n' "$ROOT" >"$VENV/built_from"
    # By the environment's own Python: the first line of each program names the Python that built it.
    cd "$VENV"
    PATH=$VENV/bin:$PATH "$VENV/bin/python" -m colcon --log-base "$VENV/log" build --merge-install \
        --base-paths "$ROOT/ros2_ws/src" --build-base "$VENV/build" --install-base "$VENV/install" \
        --cmake-args "-DPython3_EXECUTABLE=$VENV/bin/python" -DBUILD_TESTING=OFF --no-warn-unused-cli
}

write_setup_file() {
    cat >"$VENV/setup.bash" <<END
# Written by \`./run setup --ros2\`. Source it: ROS 2, the environment, the workspace.
source $(printf %q "$PREFIX/setup.bash")
source $(printf %q "$VENV/bin/activate")
source $(printf %q "$VENV/install/local_setup.bash")
# With this middleware nodes on rclpy_dds, which need no ROS 2, are in the same graph.
export RMW_IMPLEMENTATION=\${RMW_IMPLEMENTATION:-rmw_cyclonedds_cpp}
# Several processes share the cores: threads beyond them only wait for each other.
export OMP_NUM_THREADS=\${OMP_NUM_THREADS:-1}
END
}

# The installation's `ros2` by the environment's own Python: launch files look into the environment's packages, too.
write_ros2_command() {
    local installed
    installed=$(command -v ros2) || { say "$PREFIX has no ros2 command"; return 0; }
    printf '#!/usr/bin/env bash\nexec %q %q "$@"\n' "$VENV/bin/python" "$installed" >"$VENV/bin/ros2"
    chmod +x "$VENV/bin/ros2"
}

can_start() {
    local program
    # shellcheck disable=SC1091
    set +u; source "$VENV/setup.bash"; set -u
    ! command -v ros2 >/dev/null || ros2 launch magma_bringup robot.launch.py --show-args
    for program in magma_bringup.instruction_keeper magma_camera.camera_subscriber magma_console.console_node \
        magma_control.controller_node magma_policy_ros.policy_node magma_grounding_ros.grounding_node magma_recorder.recorder_node magma_sim_ros.simulator_node magma_teleop.joy_teleop_node; do
        python -c "import $program"
    done
    python -c 'import rclpy, sys; sys.exit("rclpy_dds" in rclpy.__file__)'
}

say "Setting up for the ROS 2 in $PREFIX, with $("$PYTHON" --version) (log: $LOG):"
step "Python environment" make_environment
step "PyTorch, simulator, policy" install_packages
step "Workspace (colcon)" build_workspace
write_setup_file
write_ros2_command >>"$LOG"
step "Every node can be imported" can_start
say "Done. In each shell: source ${VENV/#$PWD\//}/setup.bash"
