"""The platforms that an agent acts on; one file each."""
