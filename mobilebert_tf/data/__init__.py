"""Text in, training examples out."""
