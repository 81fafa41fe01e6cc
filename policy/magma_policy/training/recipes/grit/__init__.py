"""KOSMOS-2 learns from GRIT: captions whose phrases have places (Peng et al. 2023, sections 2 and 3)."""
