"""From timings to figures: rates, shares of the machine's limit, ratios to the baseline; as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from sfa_bench.speed.jobs import Job
from sfa_bench.speed.timing import Parts

MISSING = "–"


def least_seconds(operations: Mapping[str, float], limits: Mapping[str, Any]) -> float | None:
    """What these operations would take at the limits of their precisions; None where a limit is not known."""
    if not operations or not all(limits.get(f"matmul_{precision}") for precision in operations):
        return None
    return sum(count / limits[f"matmul_{precision}"] for precision, count in operations.items())


def side(
    rounds: Sequence[Parts], images: int, operations: Mapping[str, float], limits: Mapping[str, Any], peak: Any
) -> dict[str, Any]:
    """Figures of one side, medians over the rounds.

    Args: images of the whole; operations by precision; peak: bytes and what they are of.
    """
    seconds = median(total(parts) for parts in rounds)
    least = least_seconds(operations, limits)
    return {
        "seconds": seconds,
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


def total(parts: Parts) -> float:
    return sum(timing.seconds for timing in parts.values())


def ratio(ours: Sequence[Parts], plain: Sequence[Parts]) -> dict[str, float]:
    """How many times as fast as the baseline of the same round."""
    found = [total(theirs) / total(mine) for mine, theirs in zip(ours, plain, strict=True)]
    return {"median": median(found), "least": min(found), "greatest": max(found)}


def line(
    job: Job,
    rounds: Mapping[str, Sequence[Parts]],
    images: int,
    operations: Mapping[str, Mapping[str, float]],
    limits: Mapping[str, Any],
    peaks: Mapping[str, Any],
) -> dict[str, Any]:
    """All figures of one job; `rounds`, `operations` and `peaks` by side, `ours` and `plain`."""
    sides = {name: side(rounds[name], images, operations[name], limits, peaks[name]) for name in ("ours", "plain")}
    found = {"images": images, "rounds": len(rounds["ours"]), **sides}
    return {**job._asdict(), **found, "ratio": ratio(rounds["ours"], rounds["plain"]), "error": None}


def failed(job: Job, error: str) -> dict[str, Any]:
    return {**job._asdict(), "error": error}


HEAD = ("phase", "width", "batch", "images/s", "share", "memory", "plain images/s", "share", "memory", "times plain")


def markdown(found: Mapping[str, Any]) -> str:
    """The machine in a line, and the table."""
    rows = [HEAD, *(_row(entry) for entry in found["phases"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    ]
    lines.insert(1, ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)])
    return "\n".join([machine(found), "", *(f"| {' | '.join(cells)} |" for cells in lines)])


def machine(found: Mapping[str, Any]) -> str:
    environment, limits = found["environment"], found["limits"]
    bf16 = limits.get("matmul_bf16")
    products = f"matrix product {_short(limits.get('matmul_fp32'), 1e9)} GFLOP/s in fp32"
    products += f" and {_short(bf16, 1e9)} in bf16" if bf16 else ""
    baseline = ", the baseline in bf16" if found["setting"].get("plain_bfloat16") else ""
    threads, torch = environment["threads"], environment["versions"]["torch"]
    return (
        f"{environment['device_name']}, {threads} thread{'s' * (threads > 1)}, Torch {torch}, "
        f"training in {environment['precision']}{baseline}; {products}, copies {_short(limits.get('copy'), 1e9)} GB/s."
    )


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    size = (entry["phase"], *(MISSING if entry[key] is None else str(entry[key]) for key in ("width", "batch")))
    if entry["error"] is not None:
        why = entry["error"] if entry["error"].startswith("left out") else f"failed: {entry['error']}"
        return (*size, *[MISSING] * 6, why.replace("|", "/"))
    cells: list[str] = []
    for name in ("ours", "plain"):
        one = entry[name]
        share = MISSING if one["share"] is None else f"{100 * one['share']:.0f} %"
        cells += [_short(one["images_per_second"]), share, f"{one['peak_memory'] / 1e9:.2f} GB"]
    times = entry["ratio"]
    return (*size, *cells, f"{times['median']:.2f} ({times['least']:.2f} to {times['greatest']:.2f})")


def _short(value: float | None, unit: float = 1) -> str:
    if value is None:
        return MISSING
    value /= unit
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
