"""Engines: a prompt and a seed → the pieces of a model's answer, whatever runs the model."""
