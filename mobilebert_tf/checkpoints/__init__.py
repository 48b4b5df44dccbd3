"""Foreign weights: one explicit name table for each format."""
