"""The command line: arguments → calls of the stages, and their results → one line each."""
