"""Published benchmarks of models that point: their annotation files, their metrics, and what others report for them."""
