"""A recipe's TOML → one checked value a stage."""
