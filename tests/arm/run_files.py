"""run_files.py INPUTS OUTPUTS: runs .tflite files on given inputs. Started on ARM by arm.sh, and on
this machine, by test_arm.py; imports nothing of the package, which is not there.

INPUTS is a JSON: {"files": [...], "samples": [{"ids": [...], "mask": [...], "segment_ids": ...}]};
OUTPUTS becomes an .npz with FILE_NUMBER/SAMPLE_NUMBER/OUTPUT arrays.
"""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def outputs(path, samples):
    """Of each sample: the outputs by name. A file of fixed length pads the sample."""
    interpreter = Interpreter(path, num_threads=1)
    runner = interpreter.get_signature_runner()
    length = max(int(i["shape_signature"][1]) for i in runner.get_input_details().values())
    for sample in samples:
        tokens = len(sample["ids"])
        width = tokens if length < 0 else length
        given = {
            name: np.array([values[:width] + [0] * (width - tokens)], np.int32)
            for name, values in sample.items()
        }
        yield {name: np.array(value) for name, value in runner(**given).items()}


if __name__ == "__main__":
    asked = json.load(open(sys.argv[1]))
    found = {}
    for number, path in enumerate(asked["files"]):
        for place, row in enumerate(outputs(path, asked["samples"])):
            found |= {f"{number}/{place}/{name}": value for name, value in row.items()}
    np.savez(sys.argv[2], **found)
