"""The small models of similar-fast: the folders `reward` and `embedding`, no code."""
