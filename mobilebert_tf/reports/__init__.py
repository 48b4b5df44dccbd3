"""HTML reports of training runs, exports and quantization, with their plots."""
