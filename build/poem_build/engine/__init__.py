"""A question → a reply, by whatever runs a model here."""
