"""Writers and held-out hands → a report on whether a model goes on stage."""
