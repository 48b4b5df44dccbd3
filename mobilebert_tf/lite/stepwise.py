"""A float file that runs part by part on many texts, so that weights can change in between."""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from mobilebert_tf.lite import flatbuffer


class Stepwise:
    """A file of one graph, and the values that its next operations read, of each text.

    Args:
        model: in float.
        samples: ids, mask and segment_ids, int32 [1,T] each.

    Attributes:
        constants: values of tensors for those in the file, by the tensors' indices; what has run
            already has run with what was here then.
    """

    def __init__(self, model: schema.ModelT, samples: Sequence[dict[str, np.ndarray]]):
        self._model, (self._graph,) = model, model.subgraphs
        inputs = {index: self._graph.tensors[index].name.decode() for index in self._graph.inputs}
        self._values = [{i: sample[name] for i, name in inputs.items()} for sample in samples]
        self._real = [sample["mask"][0] == 1 for sample in samples]  # [T] each
        self._done = 0  # operations
        self.constants: dict[int, np.ndarray] = {}

    def run_to(self, position: int) -> None:
        """Runs the operations from those that have run to the one at `position`, exclusive."""
        operators = self._graph.operators[self._done : position]
        later = {int(i) for o in self._graph.operators[position:] for i in o.inputs}
        later |= {int(i) for i in self._graph.outputs}
        made = {int(i) for operator in operators for i in operator.outputs}
        read = {int(i) for operator in operators for i in operator.inputs} - made
        inputs, outputs = sorted(read & self._values[0].keys()), sorted(made & later)
        self._done = position
        if not outputs:
            return
        part = _Part(flatbuffer.part(self._model, operators, inputs, outputs, self.constants))
        for values in self._values:
            found = part([values[index] for index in inputs])
            values |= dict(zip(outputs, found, strict=True))
            for index in values.keys() - later:
                del values[index]

    def rows(self, tensor: int) -> np.ndarray:
        """Returns what a tensor [T,width] has at the real tokens of all texts, [tokens,width]; of
        one that a head reads, its only row."""
        found = [values[tensor] for values in self._values]
        pairs = zip(found, self._real, strict=True)
        return np.concatenate([x[real] if len(x) == len(real) else x for x, real in pairs])


class _Part:
    """Some of a file's operations, in TFLite's own kernels: XNNPACK's take longer to prepare."""

    def __init__(self, content: bytes):
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = Interpreter(
            model_content=content, experimental_op_resolver_type=kernels
        )
        self._inputs, self._outputs = (
            [details["index"] for details in each]
            for each in (
                self._interpreter.get_input_details(),
                self._interpreter.get_output_details(),
            )
        )

    def __call__(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, value in zip(self._inputs, values, strict=True):
            self._interpreter.resize_tensor_input(index, value.shape)
        self._interpreter.allocate_tensors()
        for index, value in zip(self._inputs, values, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
