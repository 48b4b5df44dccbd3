"""Downstream tasks: their files, examples and metrics, and the evaluation of a model on a task."""
