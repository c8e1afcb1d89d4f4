"""The service: a hand over HTTP → a poem that keeps every rule, from the model, the table or the composer."""
