"""Label noise: which samples are mislabelled, and as what (algorithms/data.md §4).

A `NoiseLaw` is the common form of the class-dependent noise models: a label of class a flips at `rate[a]`, and the new
label is drawn from row a of `target`. A row of zeros is a class that keeps its labels. Flips are computed from the
clean labels of all samples at once (algorithms/quirks.md Q52), on the class counts before noise (Q20).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfa_bench import archives
from sfa_bench.choices.code import load
from sfa_bench.choices.noises import NOISES
from sfa_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sfa_bench.choices.noises import NoiseConfig

NO_MAPS: Mapping[str, Mapping[int, int]] = {}
# Characters of a matrix as text: for comments, and for each number
LONGEST_TEXT, LONGEST_NUMBER = 100_000, 100


@dataclass(frozen=True)
class NoiseLaw:
    """rate [K] in [0, 1] and target [K, K] (rows sum to 1, or are zero), float64; count is how flips are counted.

    `exact`: int(rate·N) samples drawn from all; `exact_per_class`: int(rate·n_a) of each class; `bernoulli`: each
    sample on its own.
    """

    rate: np.ndarray
    target: np.ndarray
    count: str


@dataclass(frozen=True)
class LawInputs:
    """The inputs of a noise model.

    noise: its options; ratio: share of noisy labels; counts: clean counts int64 [K] before noise; generator: for
    targets that are drawn; class_maps: the data set's class maps for asymmetric noise, by name.
    """

    noise: NoiseConfig
    ratio: float
    counts: np.ndarray
    generator: np.random.Generator
    class_maps: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def rate(self) -> np.ndarray:
        """`ratio` for every class."""
        return np.full(self.num_classes, float(self.ratio))


Law = tuple[np.ndarray, np.ndarray]  # rate [K], target [K, K] whose rows need not sum to 1


def nothing(inputs: LawInputs) -> Law:
    return np.zeros(inputs.num_classes), np.eye(inputs.num_classes)


def uniform(inputs: LawInputs) -> Law:
    return inputs.rate, np.ones((inputs.num_classes, inputs.num_classes))


def by_size(inputs: LawInputs) -> Law:
    rate, counts = inputs.rate, inputs.counts
    if inputs.noise.include_self:
        # the probability that a label drawn from the prior is noisy: more must be drawn for a share of `ratio`
        wrong = 1 - ((counts / counts.sum()) ** 2).sum()
        rate = np.full(inputs.num_classes, min(1.0, inputs.ratio / wrong) if wrong > 0 else 0.0)
    return rate, np.tile(counts.astype(np.float64), (inputs.num_classes, 1))


def similar_class(inputs: LawInputs) -> Law:
    """Each class is mislabelled as a similar one. Raises ConfigError for a data set without such a class map."""
    if (class_map := inputs.class_maps.get(inputs.noise.map)) is None:
        raise ConfigError(
            f"noise=asymmetric finds no class map {inputs.noise.map} in these data (they have "
            f"{', '.join(inputs.class_maps) or 'none'}); try noise=pair",
            invalid_combination=True,
        )
    return inputs.rate, _one_hot(class_map, inputs.num_classes)


def next_class(inputs: LawInputs) -> Law:
    return inputs.rate, np.roll(np.eye(inputs.num_classes), 1, axis=1)


def one_other_class(inputs: LawInputs) -> Law:
    """Each class is mislabelled as one other class, drawn at random."""
    classes = inputs.num_classes
    others = (np.arange(classes) + inputs.generator.integers(1, classes, classes)) % classes
    return inputs.rate, np.eye(classes)[others]


def larger_classes(inputs: LawInputs) -> Law:
    counts = inputs.counts
    return inputs.rate, np.where(counts[None, :] > counts[:, None], counts[None, :], 0).astype(np.float64)


def from_file(inputs: LawInputs) -> Law:
    """Raises: DataError for a bad matrix file."""
    target = read_matrix(inputs.noise.file, inputs.num_classes)
    return 1 - np.diag(target), target


def noise_law(
    noise: NoiseConfig,
    ratio: float,
    counts: np.ndarray,
    generator: np.random.Generator,
    class_maps: Mapping[str, Mapping[int, int]] = NO_MAPS,
) -> NoiseLaw:
    """The `NoiseLaw` of a noise model (choices/noises.py); the arguments are those of `LawInputs`.

    Raises: ConfigError for a model that the data set does not define, or a count that it does not have; DataError for a
    bad matrix file.
    """
    described = NOISES.get(noise.name)
    if described is None or described.law is None:
        raise ConfigError(f"no class-dependent noise model is called {noise.name!r}")
    count = described.count if noise.count == "auto" else noise.count
    if count not in described.counts:
        raise ConfigError(
            f"noise={noise.name} has a rate for each class: use noise.count={' or '.join(described.counts)}, "
            f"not {count}",
            invalid_combination=True,
        )
    rate, target = load(described.law)(LawInputs(noise, ratio, counts, generator, class_maps))
    if not ("include_self" in described.options and noise.include_self):
        np.fill_diagonal(target, 0)
    total = target.sum(axis=1, keepdims=True)
    return NoiseLaw(rate, np.divide(target, total, out=np.zeros_like(target), where=total > 0), count)


def transition_matrix(law: NoiseLaw, counts: np.ndarray) -> np.ndarray:
    """T[a, b] = P(observed b | clean a), float64 [K, K], with the rates that integer counts leave (algorithms/data.md
    §4).
    """
    rate = law.rate
    if law.count == "exact":
        rate = np.full(len(counts), int(rate[0] * counts.sum()) / counts.sum())
    elif law.count == "exact_per_class":
        rate = np.array([int(r * n) / n if n else 0.0 for r, n in zip(rate, counts, strict=True)])
    rate = np.where(law.target.any(axis=1), rate, 0)[:, None]
    return (1 - rate) * np.eye(len(counts)) + rate * law.target


def corrupt(labels: np.ndarray, law: NoiseLaw, generator: np.random.Generator) -> np.ndarray:
    """Observed labels int64 [N] for the clean labels int64 [N]."""
    if law.count == "exact":
        # the product is taken in float64 and then cut: int(.29·27500) = 7974
        flipped = generator.permutation(len(labels))[: int(law.rate[0] * len(labels))]
    elif law.count == "exact_per_class":
        members = [generator.permutation(np.flatnonzero(labels == a)) for a in range(len(law.rate))]
        flipped = np.concatenate([m[: int(r * len(m))] for m, r in zip(members, law.rate, strict=True)])
    elif law.count == "bernoulli":
        flipped = np.flatnonzero(generator.random(len(labels)) < law.rate[labels])
    else:
        raise ValueError(f"noise.count={law.count!r} is none of exact, exact_per_class, bernoulli")
    flipped = flipped[law.target[labels[flipped]].any(axis=1)]
    cumulative = law.target[labels[flipped]].cumsum(axis=1)
    # the last column becomes exactly 1, so that no draw in [0, 1) falls behind it
    cumulative /= cumulative[:, -1:]
    observed = labels.astype(np.int64, copy=True)
    observed[flipped] = (generator.random(len(flipped))[:, None] >= cumulative).sum(axis=1)
    return observed


def read_matrix(file: str | None, num_classes: int) -> np.ndarray:
    """A row-stochastic matrix [K, K] from a `.npy` file, or a text file with commas or blanks between the numbers.

    Raises: DataError when it cannot be read or is no transition matrix (rows sum to 1 within 1e-6).
    """
    if not file:
        raise ConfigError("noise=matrix needs noise.file=FILE, a .npy or text file with K rows of K numbers")
    path = Path(file).expanduser()
    try:
        if path.suffix == ".npy":
            with open(path, "rb") as content:
                _refuse_shape(archives.header(content)[0], num_classes, file)
            matrix = np.load(path, allow_pickle=False)
        else:
            with open(path, encoding="utf-8") as content:
                text = content.read(most := LONGEST_TEXT + LONGEST_NUMBER * num_classes**2)
            if len(text) == most:
                raise DataError(f"noise.file={file} is not a matrix: it has {most:,} characters or more")
            matrix = np.loadtxt(text.replace(",", " ").splitlines(), ndmin=2)
        matrix = np.array(matrix, dtype=np.float64)
    except FileNotFoundError:
        raise DataError(f"noise.file={file} does not exist") from None
    except (OSError, ValueError, TypeError, EOFError, MemoryError) as error:
        raise DataError(f"noise.file={file} cannot be read as a matrix of numbers: {error}") from None
    _refuse_shape(matrix.shape, num_classes, file)
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise DataError(f"noise.file={file} holds a negative or non-finite number; every entry is a probability")
    off = np.abs(matrix.sum(axis=1) - 1)
    if off.max() > 1e-6:
        row = int(off.argmax())
        raise DataError(f"row {row} of noise.file={file} sums to {matrix[row].sum():.6g}; every row must sum to 1")
    return matrix


def _refuse_shape(shape: tuple[int, ...], num_classes: int, file: str) -> None:
    if shape != (num_classes, num_classes):
        raise DataError(
            f"noise.file={file} holds a {' × '.join(map(str, shape))} matrix; the data set needs {num_classes} × "
            f"{num_classes}"
        )


def _one_hot(targets: Mapping[int, int], num_classes: int) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes))
    for source, target in targets.items():
        matrix[source, target] = 1
    return matrix
