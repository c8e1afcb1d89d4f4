"""The model's watch: what is seen of the engine → whether it is asked, by whom and for how long."""
