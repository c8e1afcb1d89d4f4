"""A prompt → an answer, by whatever runs a model here."""
