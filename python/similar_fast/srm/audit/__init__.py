"""Audit of labelled data: what is broken, leaked, doubled, contradictory, or given away."""
