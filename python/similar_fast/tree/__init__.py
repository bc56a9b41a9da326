"""The search trees over the core, by ask and tell, and what they tell of themselves."""
