# shellcheck shell=bash
# The environment in which everything of this repository runs, complete in itself. Sourced by `run`, and again by
# `run shell` after the person's own start-up file, which may source a ROS 2.

# What a ROS 2 that is sourced has set; it is taken back. What a person says about the network stays: ROS_DOMAIN_ID,
# ROS_AUTOMATIC_DISCOVERY_RANGE, ROS_STATIC_PEERS, CYCLONEDDS_URI.
MAGMA_ROS2_VARIABLES=(
    AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH ROS_PACKAGE_PATH ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION
    ROS_ETC_DIR RMW_IMPLEMENTATION PYTHONPATH
    BASH_ENV # it has been read, and would source all that again in each script
)

# magma_has FOLDER PATTERNS…: whether a folder holds something of such a name.
magma_has() {
    local folder=$1 pattern; shift
    for pattern; do ! compgen -G "${folder:-.}/$pattern" >/dev/null || return 0; done
    return 1
}

magma_ros2_is_sourced() {
    # Its setup files set both. Alone the one picks a distribution's messages, the other adds folders with messages.
    [ -z "${ROS_VERSION:-}${COLCON_PREFIX_PATH:-}" ] || return 0
    [ -z "${ROS_DISTRO:-}" ] || [ -z "${AMENT_PREFIX_PATH:-}" ] || return 0
    # What is left is a workspace, or a part of one, that goes before our packages without saying so.
    local entry entries
    IFS=: read -ra entries <<<"${AMENT_PREFIX_PATH:-}"
    for entry in "${entries[@]}"; do
        ! magma_has "$entry" 'lib/python3*/site-packages' 'local/lib/python3*/dist-packages' || return 0
    done
    IFS=: read -ra entries <<<"${PYTHONPATH:-}"
    for entry in "${entries[@]}"; do
        ! magma_has "$entry" 'rclpy*' 'ament_*' launch launch_ros 'rosidl_*' '*_msgs' 'magma_*' || return 0
    done
    return 1
}

# magma_without_ros2 PATHS: the entries of a list like PATH that belong to no ROS 2 installation or workspace.
magma_without_ros2() {
    local entry entries prefix prefixes kept=()
    IFS=: read -ra entries <<<"$1"
    IFS=: read -ra prefixes <<<"/opt/ros:${AMENT_PREFIX_PATH:-}:${COLCON_PREFIX_PATH:-}"
    for entry in "${entries[@]}"; do
        for prefix in "${prefixes[@]}"; do
            [ -z "$prefix" ] || [[ $entry/ != "${prefix%/}"/* ]] || continue 2
        done
        # Shared libraries of its own, some of the same names as those in our wheels.
        ! magma_has "$entry" 'librcl*.so*' 'librmw*.so*' 'libddsc.so*' || continue
        kept+=("$entry")
    done
    (IFS=:; printf '%s' "${kept[*]}")
}

# magma_leave_ros2: takes back what a sourced ROS 2 has set. Sets MAGMA_STACK, which says what the nodes run on, and
# MAGMA_ROS2_LEFT, which is empty when there was none.
magma_leave_ros2() {
    MAGMA_STACK="rclpy_dds, this repository's own rclpy (no ROS 2 is sourced here)"
    MAGMA_ROS2_LEFT=
    if magma_ros2_is_sourced; then
        MAGMA_STACK="rclpy_dds, this repository's own rclpy; ROS ${ROS_VERSION:-2}${ROS_DISTRO:+ $ROS_DISTRO}, sourced here, is left aside"
        MAGMA_ROS2_LEFT=1
        PATH=$(magma_without_ros2 "$PATH")
        if [ -n "${LD_LIBRARY_PATH:-}" ]; then
            LD_LIBRARY_PATH=$(magma_without_ros2 "$LD_LIBRARY_PATH")
            [ -n "$LD_LIBRARY_PATH" ] || unset LD_LIBRARY_PATH
        fi
        unset "${MAGMA_ROS2_VARIABLES[@]}"
    fi
    unset PYTHONHOME
}

# magma_enter VENV: puts the virtual environment in front. Its own `activate` does not bear every character in a path.
magma_enter() {
    export VIRTUAL_ENV=$1
    PATH=$1/bin:$PATH
    # Several processes share the cores: threads beyond them only wait for each other.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
}

# magma_ended_early: what `run shell` says when the person's own start-up file ends it.
magma_ended_early() {
    printf 'run: ~/.bashrc ends the shell; use ./run exec COMMAND, or let it not call exit\n' >&2
}
