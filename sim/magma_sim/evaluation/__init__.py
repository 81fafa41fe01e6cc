"""`magma-eval`: success rates of policies on simulated suites, with honest intervals. See docs/evaluation.md.

suites -> episodes -> (scheduler -> worker processes -> playing) -> results -> report and comparison.
"""
