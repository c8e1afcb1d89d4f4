"""The build stage: from cards to a registered model, one module per stage."""
