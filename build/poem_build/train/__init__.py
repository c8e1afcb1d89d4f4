"""Examples and a base → an adapter."""
