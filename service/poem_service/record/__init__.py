"""What happened → counters, lines of log, rows of the generation log, and words for the person at the stand."""
