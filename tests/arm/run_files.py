"""run_files.py INPUTS OUTPUTS: runs .tflite files on given inputs. Started on ARM by arm.sh, and on
this machine, by test_arm.py; imports nothing of the package, which is not there.

INPUTS is a JSON: {"files": [...], "samples": [{"ids": [...], "mask": [...], "segment_ids": ...}],
"tensors": bool}. OUTPUTS becomes an .npz with an array FILE/SAMPLE/OUTPUT for each output, numbers
and name; with "tensors" FILE/SAMPLE/TENSOR, numbers, for each tensor of the graph, as TFLite's own
kernels compute it (XNNPACK's keep none).
"""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def run(path, samples, tensors):
    """Of each sample the arrays by name. A file of fixed length pads the sample."""
    own = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        path,
        num_threads=1,
        experimental_op_resolver_type=own if tensors else OpResolverType.AUTO,
        experimental_preserve_all_tensors=tensors,
    )
    runner = interpreter.get_signature_runner()
    length = max(int(i["shape_signature"][1]) for i in runner.get_input_details().values())
    for sample in samples:
        tokens = len(sample["ids"])
        width = tokens if length < 0 else length
        given = {
            name: np.array([values[:width] + [0] * (width - tokens)], np.int32)
            for name, values in sample.items()
        }
        outputs = {name: np.array(value) for name, value in runner(**given).items()}
        yield dict(computed(interpreter)) if tensors else outputs


def computed(interpreter):
    """The graph's tensors, by number; without those that hold nothing."""
    for details in interpreter.get_tensor_details():
        try:
            yield details["index"], interpreter.get_tensor(details["index"])
        except ValueError:
            pass


if __name__ == "__main__":
    asked = json.load(open(sys.argv[1]))
    found = {}
    for number, path in enumerate(asked["files"]):
        for place, row in enumerate(run(path, asked["samples"], asked["tensors"])):
            found |= {f"{number}/{place}/{name}": value for name, value in row.items()}
    np.savez(sys.argv[2], **found)
