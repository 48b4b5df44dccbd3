"""From text to token ids, and from tokens back to positions in the text."""
