"""Triple-M training: a backbone's fine-tuning, then the regression, then the gate.

Wants the extra `train`. Source: Miao et al. 2025, section 4.
"""
