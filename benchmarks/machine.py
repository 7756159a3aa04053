"""What machine a benchmark ran on, and how its results are printed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable

import torch


def machine() -> str:
    """Processor, cores and torch version, for the head of every benchmark."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            name = next((line.split(":")[1].strip() for line in stream if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__} with {torch.get_num_threads()} threads"


def verdict(name: str, value: float, bound: float, digits: int = 3) -> None:
    """One line: the figure, its bound, and whether it holds."""
    print(f"{name:<74} {value:8.{digits}f}   at most {bound:g}   {'ok' if value <= bound else 'MISSED'}")


def median_seconds(function: Callable[[], object], repeats: int = 30, warm_up: int = 5) -> float:
    """Median wall time of a call, seconds."""
    for _ in range(warm_up):
        function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def least_seconds(function: Callable[[], object], repeats: int) -> float:
    """Least wall time of a call, seconds: what it takes when nothing else runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)
