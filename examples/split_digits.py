"""Make data/digits.npz: the handwritten digits that ship with scikit-learn, split into training and test images.

Nothing is downloaded; scikit-learn is the only package needed beyond hwloop's own dependencies. From the root of the
repository:

    pip install scikit-learn
    python examples/split_digits.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]


def main() -> None:
    """Split the digits so that both parts hold the classes in equal proportion, and save them."""
    parser = argparse.ArgumentParser(description="Make digits.npz of the digits that ship with scikit-learn.")
    parser.add_argument("--out", type=Path, default=Path("data/digits.npz"), help="default: data/digits.npz")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    parser.add_argument("--test-images", type=int, default=500, help="default: 500")
    arguments = parser.parse_args()
    bunch = load_digits()
    images, labels = bunch.data.astype(np.uint8), bunch.target.astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=arguments.test_images, stratify=labels, random_state=arguments.seed
    )
    train.sort()
    test.sort()
    np.savez_compressed(arguments.out, images=images, labels=labels, train_index=train, test_index=test)
    print(f"{arguments.out}: {len(train)} training and {len(test)} test images")


if __name__ == "__main__":
    main()
