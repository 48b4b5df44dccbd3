"""The NoNorm algebra: a model's weights rewritten so that its norms disappear, exactly.

NoNorm is gamma * x + beta for each channel, and every layer around it is linear. One straight after
a dense layer goes into that layer. One at the end of a residual stream,

    x_k = gamma_k * (x_{k-1} + F_k(x_{k-1})) + beta_k,

goes away if the stream is stored as y_k = D_k * x_k with D_k = D_{k-1} / gamma_k:

    y_k = y_{k-1} + D_{k-1} * F_k + D_k * beta_k.

So F_k's input weights are divided by D_{k-1}, and its output weights and bias multiplied by it.
Where a stream starts, D is free: lite/equalize.py evens out the channels with it, for quantization.
"""

import numpy as np

from mobilebert_tf.modeling.config import ModelConfig
from mobilebert_tf.modeling.quantization import HIDDEN

# A channel's D stays within LARGEST_SCALE and its inverse, so that float16 can hold the weights.
# Where gammas near zero would carry it further, D starts anew at 1 and a multiplication is left.
LARGEST_SCALE = 2.0**8


def fold(
    weights: dict[str, np.ndarray],
    config: ModelConfig,
    head_layer: str | None,
    scales: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Returns the weights of the inference graph, float32, by the paths of the model's weights.

    Norms that are gone have no gamma and beta any more. Under "NAME/norm/gamma" may remain a
    factor for the residual of NAME, under "output_scale" [H] one for the last block's output.

    Args:
        weights: of a MobileBert, by path.
        head_layer: the dense layer that reads the last block's output; None if none does.
        scales: of free channels, by the name of the stream or dense layer that gives them, as in
            `equalize.Observations`. By default D starts where its mean over the stream is 1.
    """
    folder = _Folder(weights, config, scales or {})
    for index in range(config.num_hidden_layers):
        folder.scale_outputs(f"block_{index}/attention/query", config.head_size**-0.5)
    if config.normalization_type == "no_norm":
        folder.fold_norms(head_layer)
    folder.scale_pairs()
    return {name: value.astype(np.float32) for name, value in folder.weights.items()}


class _Folder:
    """Weights in float64 while they are rewritten. D is called `scale`, [H] or [I]."""

    def __init__(self, weights, config: ModelConfig, scales):
        self.weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.config, self.scales = config, scales

    def fold_norms(self, head_layer: str | None) -> None:
        config = self.config
        blocks = [f"block_{index}" for index in range(config.num_hidden_layers)]
        ends = [self._ends(block) for block in blocks]  # inside a block, in order
        if config.use_bottleneck:
            stream = [f"{block}/output_bottleneck" for block in blocks]
        else:
            stream = [name for names in ends for name in names]
        scale = self._start(HIDDEN, stream, config.hidden_size)
        self._embeddings(scale)
        for block, inner in zip(blocks, ends, strict=True):
            scale = self._block(block, inner, scale)
        if head_layer:
            self._divide_inputs(head_layer, scale)
        elif not np.all(scale == 1):
            self.weights["output_scale"] = 1 / scale

    def scale_pairs(self) -> None:
        """Scales the channels between value and output layer, and around a ReLU: they are free."""
        for name, scale in self.scales.items():
            block, _, layer = name.partition("/")
            if layer == "attention/value":
                self.scale_outputs(name, scale)
                self._divide_inputs(f"{block}/attention/output/dense", scale)
            elif layer.endswith("/intermediate"):
                self.scale_outputs(name, scale)
                self._divide_inputs(name.replace("/intermediate", "/output/dense"), scale)

    def scale_outputs(self, dense: str, factor, shift=0.0) -> None:
        """dense(x) becomes factor * dense(x) + shift."""
        self.weights[f"{dense}/kernel"] *= factor
        self.weights[f"{dense}/bias"] = self.weights[f"{dense}/bias"] * factor + shift

    def _divide_inputs(self, dense: str, scale) -> None:
        """dense(x) becomes dense(x / scale)."""
        self.weights[f"{dense}/kernel"] /= scale[:, None]

    def _ends(self, block: str) -> list[str]:
        """The residual sub-layers inside a block."""
        count = self.config.num_feedforward_networks
        return [f"{block}/attention/output"] + [
            f"{block}/feed_forward_{i}/output" for i in range(count)
        ]

    def _start(self, stream: str, ends: list[str], width: int) -> np.ndarray:
        """The first D of a stream, such that its D have the geometric mean 1 where D is free."""
        gammas = np.array([self.weights[f"{end}/norm/gamma"] for end in ends])  # [K,width]
        steps = np.cumsum(np.log(np.clip(np.abs(gammas), 1 / LARGEST_SCALE, None)), axis=0)
        centre = np.exp(steps.sum(axis=0) / (len(ends) + 1))
        return _bounded(centre * self.scales.get(stream, np.ones(width)))

    def _embeddings(self, scale: np.ndarray) -> None:
        gamma, beta = self._norm("embeddings")
        transformation, factor = "embeddings/embedding_transformation", gamma * scale
        self.weights["embeddings/token_type_embeddings"] *= factor
        positions = self.weights["embeddings/position_embeddings"] * factor
        if f"{transformation}/kernel" in self.weights:
            self.scale_outputs(transformation, factor, scale * beta)
        else:
            words = self.weights["embeddings/word_embeddings"]
            self.weights["masked_lm/word_embeddings"] = words  # the tied output stays as it is
            self.weights["embeddings/word_embeddings"] = words * factor
            positions += scale * beta
        self.weights["embeddings/position_embeddings"] = positions

    def _block(self, block: str, ends: list[str], outer: np.ndarray) -> np.ndarray:
        """Folds a block that reads its input at scale `outer`; returns its output's scale."""
        config, attention = self.config, f"{block}/attention"
        inner = query_key = value = outer
        if config.use_bottleneck:
            inner = self._bottleneck(f"{block}/input_bottleneck", outer, ends)
        if config.use_bottleneck_attention:
            query_key = value = inner
        elif config.use_bottleneck and config.key_query_shared_bottleneck:
            query_key = self._bottleneck(f"{block}/shared_bottleneck", outer, [])
        self._divide_inputs(f"{attention}/query", query_key)
        self._divide_inputs(f"{attention}/key", query_key)
        self._divide_inputs(f"{attention}/value", value)
        inner = self._end(f"{attention}/output", inner)
        for index in range(config.num_feedforward_networks):
            feed_forward = f"{block}/feed_forward_{index}"
            self._divide_inputs(f"{feed_forward}/intermediate", inner)
            inner = self._end(f"{feed_forward}/output", inner)
        if not config.use_bottleneck:
            return inner
        self._divide_inputs(f"{block}/output_bottleneck/dense", inner)
        return self._end(f"{block}/output_bottleneck", outer)

    def _bottleneck(self, name: str, outer: np.ndarray, ends: list[str]) -> np.ndarray:
        """norm(dense(x)) starts a stream, whose D the norm's gamma does not bind."""
        gamma, beta = self._norm(name)
        scale = self._start(name, ends, len(gamma))
        self._divide_inputs(f"{name}/dense", outer)
        self.scale_outputs(f"{name}/dense", scale * gamma, scale * beta)
        return scale

    def _end(self, name: str, scale: np.ndarray) -> np.ndarray:
        """norm(dense(x) + residual), the residual at `scale`; returns the scale of the sum."""
        gamma, beta = self._norm(name)
        with np.errstate(divide="ignore"):
            wanted = scale / gamma
        following = np.where(_bounded(wanted) == wanted, wanted, 1.0)
        self.scale_outputs(f"{name}/dense", following * gamma, following * beta)
        if not np.array_equal(following, wanted):
            self.weights[f"{name}/norm/gamma"] = following * gamma / scale
        return following

    def _norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Takes gamma and beta out of the weights."""
        return self.weights.pop(f"{name}/norm/gamma"), self.weights.pop(f"{name}/norm/beta")


def _bounded(scale: np.ndarray) -> np.ndarray:
    size = np.clip(np.abs(scale), 1 / LARGEST_SCALE, LARGEST_SCALE)
    return np.copysign(size, scale)
