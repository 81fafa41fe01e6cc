# shellcheck shell=bash disable=SC2034
# Which PyTorch every environment gets; sourced. Without an NVIDIA GPU its CPU build, from an index of its own, saves several GB.

TORCH=torch==2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
