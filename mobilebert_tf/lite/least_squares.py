"""Ridge regression: least squares with weights that stay small where the texts do not decide."""

import numpy as np


def ridge_solution(products: np.ndarray, targets: np.ndarray, share: float) -> np.ndarray:
    """Returns the weights of a ridge regression: [features,width].

    Args:
        products: x.T @ x of the features, or their mean, [features,features].
        targets: x.T @ y, or its mean, [features,width].
        share: as for `damped`.
    """
    return np.linalg.solve(damped(products, share), targets)


def damped(products: np.ndarray, share: float) -> np.ndarray:
    """Returns x.T @ x of features x, [features,features], as if each also had noise of its own.

    Args:
        products: x.T @ x.
        share: the noise, of the features' mean square.
    """
    noise = max(share * np.trace(products) / len(products), 1e-12)
    return products.astype(np.float64) + noise * np.eye(len(products))
