"""A question → a teacher's answer on disk, what it cost, and what the rules say of it."""
