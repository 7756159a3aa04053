"""Temporary."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Dataset:
    """Temp."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read_dataset(path):
    """Temp."""
    d = np.load(path)
    x = d["images"].astype(np.float32)
    y = d["labels"].astype(np.int64)
    a, b = d["train_index"], d["test_index"]
    return Dataset(x[a], y[a], x[b], y[b])
