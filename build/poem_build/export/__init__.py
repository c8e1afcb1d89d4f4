"""A base and an adapter → the files that are served."""
