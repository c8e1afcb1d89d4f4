"""A game and a teacher → examples to learn from, plain text for a base, and tables of poems."""
