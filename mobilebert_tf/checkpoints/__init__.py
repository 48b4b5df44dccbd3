"""Checkpoints of other projects: one explicit table of weight names for each format."""
