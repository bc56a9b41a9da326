"""How files are written: whole or not at all, grown line by line, by one writer."""
