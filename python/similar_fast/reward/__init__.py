"""The reward model: steps in, five dimensions and a total out."""
