"""A game → hands, examples and tables."""
