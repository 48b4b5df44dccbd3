"""The device side: a model directory becomes one .tflite file, checked, described and measured."""
