"""A stage's work → a folder that is whole or not there, and that says what it was made from."""
