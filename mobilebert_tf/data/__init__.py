"""Reads text and tables, and makes pre-training examples of text."""
