"""The road of a request: bytes → a hand → its poem, by the model, the table or the composer."""
