"""The build stage: a game and a recipe → a model that is registered, stage by stage."""
