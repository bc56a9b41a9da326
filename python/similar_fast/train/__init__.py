"""Triple-M training: cached states, multi-objective regression, a gating network. Extra `train`.

Source: Miao et al. 2025, section 4.
"""
