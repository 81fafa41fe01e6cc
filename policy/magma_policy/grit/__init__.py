"""GRIT: from pictures with captions to captions whose phrases have boxes (Peng et al. 2023, arXiv 2306.14824).

The paper's pipeline, whose code was never published: noun chunks, a detector, and expressions by the dependency tree.
"""
