"""A module a family; `models.family` finds it by its name."""
