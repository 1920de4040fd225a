"""Figures from timings: rates, and shares of the machine's limit; as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from sfa_bench.config.terminal import markdown_table
from sfa_bench.speed.timing import Parts

MISSING = "–"
SIZE = ("phase", "width", "batch")
RATE = ("images/s", "share", "memory")


def least_seconds(operations: Mapping[str, float], limits: Mapping[str, Any]) -> float | None:
    """Seconds that these operations would take at the limits of their precisions; None where a limit is unknown."""
    if not operations or not all(limits.get(f"matmul_{precision}") for precision in operations):
        return None
    return sum(count / limits[f"matmul_{precision}"] for precision, count in operations.items())


def figures(
    rounds: Sequence[Parts], images: int, operations: Mapping[str, float], limits: Mapping[str, Any], peak: Any
) -> dict[str, Any]:
    """The figures of one side of a line, as medians over the rounds.

    Args: images of the whole; operations by precision; peak: bytes and what they are of.
    """
    each = [sum(timing.seconds for timing in parts.values()) for parts in rounds]
    seconds, least = median(each), least_seconds(operations, limits)
    return {
        "seconds": seconds,
        "round_seconds": each,
        "images_per_second": images / seconds,
        "tflops": sum(operations.values()) / seconds / 1e12 if operations else None,
        "share": None if least is None else least / seconds,
        "peak_memory": peak[0],
        "peak_memory_of": peak[1],
        "parts": {
            name: {
                "seconds": median(parts[name].seconds for parts in rounds),
                "steps": rounds[0][name].steps,
                "steps_measured": sum(parts[name].measured for parts in rounds),
            }
            for name in rounds[0]
        },
    }


def markdown(measured: Mapping[str, Any]) -> str:
    """The machine in one line, and the suite's table."""
    return f"{machine(measured)}.\n\n{table(measured, (*RATE, 'images/s, least to greatest'), _cells)}"


def _cells(entry: Mapping[str, Any]) -> list[str]:
    slowest, fastest = (entry["images"] / act(entry["suite"]["round_seconds"]) for act in (max, min))
    return [*rate_cells(entry["suite"]), f"{short(slowest)} to {short(fastest)}"]


def rate_cells(side: Mapping[str, Any]) -> list[str]:
    """The cells of the columns RATE."""
    share = MISSING if side["share"] is None else f"{100 * side['share']:.0f} %"
    return [short(side["images_per_second"]), share, f"{side['peak_memory'] / 1e9:.2f} GB"]


def table(measured: Mapping[str, Any], head: Sequence[str], cells: Callable[[Mapping[str, Any]], Sequence[str]]) -> str:
    """A table with a row for each measured line: its size, and its cells under this head, or the reason why there are
    none.
    """
    rows: list[Sequence[str]] = [(*SIZE, *head)]
    for entry in measured["phases"]:
        size = [MISSING if entry[key] is None else str(entry[key]) for key in SIZE]
        if entry["error"] is None:
            rows.append([*size, *cells(entry)])
        else:
            why = entry["error"] if entry["error"].startswith("left out") else f"failed: {entry['error']}"
            rows.append([*size, *[MISSING] * (len(head) - 1), why.replace("|", "/")])
    return markdown_table(rows, texts=1)


def machine(measured: Mapping[str, Any]) -> str:
    """The machine and its limits, as a sentence without a full stop."""
    environment, limits = measured["environment"], measured["limits"]
    products = f"matrix product {short(limits.get('matmul_fp32'), 1e9)} GFLOP/s in fp32"
    products += f" and {short(limits['matmul_bf16'], 1e9)} in bf16" if limits.get("matmul_bf16") else ""
    threads, torch = environment["threads"], environment["versions"]["torch"]
    return (
        f"{environment['device_name']}, {threads} thread{'s' * (threads > 1)}, Torch {torch}, "
        f"training in {environment['precision']}; {products}, copies {short(limits.get('copy'), 1e9)} GB/s"
    )


def short(value: float | None, unit: float = 1) -> str:
    if value is None:
        return MISSING
    value /= unit
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
