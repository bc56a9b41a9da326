"""MCTS-P: labels for single steps, from rollouts in the real environment."""
