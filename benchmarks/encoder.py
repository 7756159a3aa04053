"""A transformer encoder of 22 million weights on a statistical chip: time and memory of deploying it and of using it.

    python benchmarks/encoder.py [--layers 12] [--threads 2] [--backend "sim:hermes-64?level=statistical&cores=520"]

The network has random weights and is given random tokens, 32 sequences of 64; what is measured is how long it takes.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from machine import machine
from torch import nn

import hwloop

Result = TypeVar("Result")


def encoder(layers: int) -> nn.Module:
    """Make an encoder of 1.84 million weights a layer: width 384, 6 heads, 1 632 in between."""
    layer = nn.TransformerEncoderLayer(384, 6, 1632, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def timed(what: str, work: Callable[[], Result]) -> Result:
    """Do something, and print how long it took."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    print(f"{what}: {time.perf_counter() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU time", flush=True)
    return result


def main() -> None:
    """Deploy the encoder and run it once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:hermes-64?level=statistical&cores=520")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(machine())
    network, tokens = encoder(arguments.layers).eval(), torch.randn(32, 64, 384)
    weights = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    print(f"{weights / 1e6:.1f} million weights on {arguments.backend}")
    with hwloop.connect(arguments.backend) as chip, torch.no_grad():
        net = timed("deploy", lambda: hwloop.deploy(network, chip, tokens))
        assert isinstance(net, hwloop.DeployedNetwork)
        ours: torch.Tensor = timed("one forward pass of 32 x 64 tokens", lambda: net.forward(tokens))
        theirs = timed("the same digitally", lambda: network(tokens))
        print(f"{net.mapping_report().cores_used} cores; relative error {error(ours, theirs):.3f}")
        print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Compute the relative error of outputs, in the Frobenius norm."""
    return float((ours - theirs).norm() / theirs.norm())


if __name__ == "__main__":
    main()
