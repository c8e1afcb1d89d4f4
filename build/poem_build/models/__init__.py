"""A model's files and family → a model that is loaded, asked in its own words, and read token by token."""
