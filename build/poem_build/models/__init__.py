"""A base's name → a model, a tokenizer and the words that its family is talked to with."""
