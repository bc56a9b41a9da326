"""SRM: labelled data of any published form, pairs of it, its audit, and the benchmark."""
