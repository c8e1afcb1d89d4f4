"""Figures and answers → pages to read."""
