"""Downstream tasks: files, examples, metrics, and one evaluation of any model on any of them."""
