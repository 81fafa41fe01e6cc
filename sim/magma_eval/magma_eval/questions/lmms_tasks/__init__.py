"""Tasks that lmms-eval lacks, in its form: `lmms-eval eval --include_path` of this folder finds them."""
