"""python export/to_tflite.py: a model directory becomes one .tflite file for phones."""

from mobilebert_tf.export import main

if __name__ == "__main__":
    main()
