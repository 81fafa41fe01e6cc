"""KOSMOS-2 (Peng et al. 2023, arXiv 2306.14824): a model that points. `model.Kosmos2` is what others use."""
