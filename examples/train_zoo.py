"""Train the digits networks of hwloop.nn.zoo on data/digits.npz.

From the root of the repository:

    python examples/train_zoo.py
    python examples/train_zoo.py digits_lstm --seed 1 --out-dir .

Each network's float32 weights go to ``NETWORK.safetensors`` in ``--out-dir``. All take under two minutes on one CPU
core. On one machine, with the same package versions, the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.nn.factory import network_from

DATA_SOURCE = (
    "Optical Recognition of Handwritten Digits, test set (E. Alpaydin and C. Kaynak, 1998), "
    "UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, as shipped with scikit-learn"
)


@dataclass(frozen=True)
class Recipe:
    """How one network is trained; the numbers were chosen on training images that were kept apart."""

    epochs: int
    """Passes over the training images."""
    learning_rate: float
    """Step of AdamW at the beginning; it falls to zero along a cosine."""
    weight_decay: float = 0.1
    """Share by which AdamW lets weights shrink, times the learning rate."""
    batch_size: int = 64
    """Images a step."""
    label_smoothing: float = 0.1
    """Share of the wanted probability that is spread over all classes."""
    weight_noise: float = 0.0
    """Standard deviation of the noise on weights while training, as a share of the layer's largest weight."""
    clip_sigma: float = float("inf")
    """Standard deviations of a weight matrix at which it is clipped after each step."""


RECIPES = {
    # For analog hardware from the start; the settings come from five-fold cross-validation.
    "digits_mlp": Recipe(120, 5e-3, 0.01, 32, label_smoothing=0.0, weight_noise=0.1, clip_sigma=3.0),
    # As a user brings them: knowing nothing of the chip.
    "digits_cnn": Recipe(20, 5e-3, 0.05),
    "digits_lstm": Recipe(100, 5e-3, 0.2, batch_size=32),
    "digits_transformer": Recipe(80, 3e-3),
}


def weight_matrices(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights that would sit on a crossbar: those of two dimensions or more."""
    return {name: p for name, p in network.named_parameters() if "weight" in name and p.ndim > 1}


def noisy_scores(network: nn.Module, x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Run the network once with fresh Gaussian noise on every weight.

    Analog devices never hold exactly the value they were programmed to. A network trained under similar errors settles
    where small changes matter little. The noise is relative to the largest weight of the layer because programming
    errors scale with the full conductance range.
    """
    noisy = {}
    for name, weight in weight_matrices(network).items():
        scale = noise * weight.detach().abs().max()
        noisy[name] = weight + scale * torch.randn(weight.shape, generator=generator)
    scores: Tensor = torch.func.functional_call(network, noisy, (x,))
    return scores


@torch.no_grad()
def clip_weights(network: nn.Module, sigmas: float) -> None:
    """Clip each weight matrix at a multiple of its own standard deviation.

    The largest weight of a layer is mapped to the largest conductance, so one outlier would squeeze all other weights
    into a small part of the range, where noise is large next to the signal. Clipping after each step keeps the range
    well used and lets the network learn around the limit.
    """
    for weight in weight_matrices(network).values():
        limit = sigmas * weight.std().item()
        weight.clamp_(-limit, limit)


def train(network: nn.Module, data: Dataset, recipe: Recipe, generator: torch.Generator) -> None:
    """Train the network in place, and leave it ready to be used."""
    images, labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=recipe.epochs)
    network.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), generator=generator)
        for batch in torch.split(order, recipe.batch_size):
            if recipe.weight_noise:
                scores = noisy_scores(network, images[batch], recipe.weight_noise, generator)
            else:
                scores = network(images[batch])
            loss = F.cross_entropy(scores, labels[batch], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if recipe.clip_sigma < float("inf"):
                clip_weights(network, recipe.clip_sigma)
        schedule.step()
    network.eval()


@torch.no_grad()
def count_right(network: nn.Module, data: Dataset) -> int:
    """Return how many test images are classified correctly."""
    right = network(torch.from_numpy(data.x_test)).argmax(dim=1) == torch.from_numpy(data.y_test)
    return int(right.sum())


def sort_metadata(content: bytes) -> bytes:
    """Put the metadata of a safetensors file in sorted order, which the library leaves random.

    The file starts with the length of a JSON header (8 bytes, little endian), then the header padded with spaces, then
    the tensors. Only the order of the metadata changes, so the length stays the same.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + text.ljust(size) + content[8 + size :]


def save(network: nn.Module, metadata: dict[str, str], path: Path) -> None:
    """Write the weights, and what batch norm has counted, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(sort_metadata(to_safetensors(state, metadata=metadata)))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the digits networks of hwloop.nn.zoo.")
    plain = [name for name in RECIPES if name != "digits_mlp"]
    parser.add_argument("networks", nargs="*", default=plain, help=f"of {', '.join(RECIPES)} (default: {plain})")
    parser.add_argument("--dataset", type=Path, default=Path("data/digits.npz"), help="default: data/digits.npz")
    parser.add_argument("--out-dir", type=Path, default=Path("data"), help="output folder (default: data)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and noise (default: 0)")
    arguments = parser.parse_args()
    unknown = set(arguments.networks) - RECIPES.keys()
    if unknown:
        parser.error(f"no recipe for {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    return arguments


def main() -> None:
    """Train, measure and save each network."""
    arguments = parse_args()
    torch.set_num_threads(1)  # sums in a fixed order, so that a run can be repeated bit for bit
    data = read_dataset(arguments.dataset)
    for name in arguments.networks:
        begin = time.process_time()
        torch.manual_seed(arguments.seed)  # initial weights
        network = network_from(f"hwloop.nn.zoo:{name}")
        train(network, data, RECIPES[name], torch.Generator().manual_seed(arguments.seed))
        right, count = count_right(network, data), len(data.y_test)
        path = arguments.out_dir / f"{name}.safetensors"
        metadata = {
            "accuracy": f"{right / count:.4f} (float32, {count} test images)",
            "architecture": f"hwloop.nn.zoo:{name}",
            "input": "images of any scale; each is divided by its largest value",
            "data_source": DATA_SOURCE,
            "data_licence": "CC BY 4.0",
            "seed": str(arguments.seed),
        }
        save(network, metadata, path)
        print(f"{path}: {right} of {count} test images right, {time.process_time() - begin:.0f} s")


if __name__ == "__main__":
    main()
