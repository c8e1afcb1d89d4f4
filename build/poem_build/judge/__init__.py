"""Answers and the models that gave them → verdicts and figures."""
