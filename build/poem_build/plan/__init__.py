"""A recipe and a machine → what each stage takes, and whether it is there."""
