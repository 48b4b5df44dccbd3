"""The networks: layers, heads, whole models, and model directories on disk."""
