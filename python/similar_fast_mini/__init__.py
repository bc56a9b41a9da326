"""The small text encoder of similar-fast: a folder `model`, no code."""
