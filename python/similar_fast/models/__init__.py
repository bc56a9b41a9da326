"""What a model folder holds, and how it is opened."""
