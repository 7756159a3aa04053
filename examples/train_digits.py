"""Train a small digit classifier whose weights suit an analog chip.

The data are the 1797 handwritten digits (8x8 pixels, values 0 to 16) that ship with scikit-learn, so
nothing is downloaded. scikit-learn is the only package needed beyond hwloop's own dependencies. From the
root of the repository:

    pip install scikit-learn
    python examples/train_digits.py

The script writes two files to ``--out-dir``: ``digits.npz`` (images, labels and the train/test split) and
``digits_mlp.safetensors`` (the float32 weights). It takes under ten seconds on one CPU core. On one
machine, with the same package versions, the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

TEST_IMAGES = 500
PIXEL_MAX = 16.0
BATCH_SIZE = 32
CLIP_SIGMA = 3.0

# Chosen, with the number of epochs, by five-fold cross-validation within the training set.
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.01
WEIGHT_NOISE = 0.1  # standard deviation, as a fraction of the layer's largest weight

DATA_SOURCE = (
    "Optical Recognition of Handwritten Digits, test set (E. Alpaydin and C. Kaynak, 1998), "
    "UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, as shipped with scikit-learn"
)
DATA_LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class Digits:
    """The digit images with their labels and a fixed train/test split."""

    images: np.ndarray  # uint8 (1797, 64), pixel values 0 to 16
    labels: np.ndarray  # uint8 (1797,), 0 to 9
    train_index: np.ndarray  # int64 (1297,)
    test_index: np.ndarray  # int64 (500,)

    def tensors(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the chosen images, scaled to [0, 1], and their labels."""
        images = torch.from_numpy(self.images[index]).float() / PIXEL_MAX
        return images, torch.from_numpy(self.labels[index]).long()


class DigitsMLP(nn.Module):
    """Three linear layers, 64 -> 128 -> 64 -> 10, with ReLU in between."""

    def __init__(self) -> None:
        """Create the layers with PyTorch's default initial weights."""
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the ten class scores of each image."""
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        scores: Tensor = self.fc3(x)
        return scores


def load_split(seed: int) -> Digits:
    """Load the digits and split them so that both parts hold the classes in equal proportion."""
    bunch = load_digits()
    labels = bunch.target.astype(np.uint8)
    rows = np.arange(len(labels))
    train, test = train_test_split(rows, test_size=TEST_IMAGES, stratify=labels, random_state=seed)
    return Digits(bunch.data.astype(np.uint8), labels, np.sort(train), np.sort(test))


def weight_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that would sit on the crossbar; biases are added digitally."""
    return {name: p for name, p in model.named_parameters() if name.endswith(".weight")}


def noisy_forward(model: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """Run the model once with fresh Gaussian noise on every weight.

    Analog devices never hold exactly the value they were programmed to. A network trained under similar
    errors settles where small weight changes matter little. The noise is relative to the largest weight of
    the layer because programming errors scale with the full conductance range.
    """
    noisy = {}
    for name, weight in weight_matrices(model).items():
        scale = WEIGHT_NOISE * weight.detach().abs().max()
        noisy[name] = weight + scale * torch.randn(weight.shape, generator=generator)
    scores: Tensor = torch.func.functional_call(model, noisy, (x,))
    return scores


@torch.no_grad()
def clip_weights(model: nn.Module) -> None:
    """Clip each weight matrix at three times its own standard deviation.

    The largest weight of a layer is mapped to the largest conductance, so one outlier would squeeze all
    other weights into a small part of the range, where noise is large next to the signal. Clipping after
    each step keeps the range well used and lets the network learn around the limit.
    """
    for weight in weight_matrices(model).values():
        limit = CLIP_SIGMA * weight.std().item()
        weight.clamp_(-limit, limit)


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int, generator: torch.Generator) -> None:
    """Train the model in place with AdamW, weight noise and weight clipping."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for batch in torch.split(order, BATCH_SIZE):
            loss = F.cross_entropy(noisy_forward(model, images[batch], generator), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clip_weights(model)
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the fraction of images classified correctly, without weight noise."""
    correct: Tensor = model(images).argmax(dim=1) == labels
    return correct.float().mean().item()


def sort_metadata(data: bytes) -> bytes:
    """Put the metadata of a safetensors file in sorted order, which the library leaves random.

    The file starts with the length of a JSON header (8 bytes, little endian), then the header padded with
    spaces, then the tensors. Only the order of the metadata changes, so the length stays the same.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return data[:8] + text.ljust(size) + data[8 + size :]


def save(model: nn.Module, digits: Digits, test_accuracy: float, seed: int, out_dir: Path) -> None:
    """Write the data set and the trained weights to ``out_dir``."""
    out_dir.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out_dir / "digits.npz",
        images=digits.images,
        labels=digits.labels,
        train_index=digits.train_index,
        test_index=digits.test_index,
    )
    metadata = {
        "accuracy": f"{test_accuracy:.4f} (float32, {len(digits.test_index)} test images)",
        "architecture": "64 -> fc1 -> 128 -> ReLU -> fc2 -> 64 -> ReLU -> fc3 -> 10; y = x W^T + b",
        "input": "pixel values divided by 16, so in [0, 1]",
        "data_source": DATA_SOURCE,
        "data_licence": DATA_LICENCE,
        "seed": str(seed),
    }
    weights = to_safetensors(model.state_dict(), metadata=metadata)
    (out_dir / "digits_mlp.safetensors").write_bytes(sort_metadata(weights))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a small digit classifier for an analog chip.")
    parser.add_argument("--out-dir", type=Path, default=Path("data"), help="output folder (default: data)")
    parser.add_argument("--seed", type=int, default=0, help="seed of split, weights and noise (default: 0)")
    parser.add_argument("--epochs", type=int, default=120, help="passes over the training set (default: 120)")
    return parser.parse_args()


def main() -> None:
    """Train, measure and save the classifier."""
    args = parse_args()
    torch.set_num_threads(1)  # sums in a fixed order, so that a run can be repeated bit for bit
    torch.manual_seed(args.seed)  # initial weights
    generator = torch.Generator().manual_seed(args.seed)  # batch order and weight noise

    digits = load_split(args.seed)
    model = DigitsMLP()
    train(model, *digits.tensors(digits.train_index), args.epochs, generator)

    train_accuracy = accuracy(model, *digits.tensors(digits.train_index))
    test_accuracy = accuracy(model, *digits.tensors(digits.test_index))
    print(f"train accuracy {train_accuracy:.2%}, test accuracy {test_accuracy:.2%}")
    save(model, digits, test_accuracy, args.seed, args.out_dir)
    print(f"wrote digits.npz and digits_mlp.safetensors to {args.out_dir}")


if __name__ == "__main__":
    main()
