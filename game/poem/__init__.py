"""The game: deck, hand, prompt, rules, pattern key and composer. Standard library only."""
