"""MiniWoB++: 130 small web tasks as suites of `magma-eval`, in a real browser."""
