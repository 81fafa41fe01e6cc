"""`magma-eval`: success rates of policies on simulated suites, with honest intervals. See docs/evaluation.md.

suites -> episodes -> plan -> (coordinator: leases -> worker pool -> rollout) -> recorder -> report and comparison.
"""
