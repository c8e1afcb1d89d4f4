"""A hand → the poem that a model is to learn for it, and what that cost."""
