"""Turns published checkpoints into the model folders that similar-fast runs."""
