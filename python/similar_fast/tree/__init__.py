"""The search trees over the core, by ask and tell; their explanation and export."""
