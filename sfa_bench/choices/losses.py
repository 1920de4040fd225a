"""The losses of single networks (algorithms/methods.md §2, §5; algorithms/jal_sop.md; algorithms/dss.md §3).

A new one is a function, an entry here, and a YAML.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from sfa_bench.choices.options import Brought, named_by_users, option

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

ANY = "any data set"
REPLACED = "ce"  # the loss that another one replaces: method=ce loss=NAME
# A data set without constants of its own takes those of this one; cifar10's where none is named.
ROWS = {"digits": "mnist", "mnist5k": "mnist", "fashion_mnist": "mnist", "clothing1m": "webvision"}
CONSTANTS = ("alpha", "beta", "q", "gamma", "a", "scale", "tau", "margin", "weight", "lr_u", "lr_v", "level", "window")


def _no_refusal(loss: LossConfig) -> Iterator[str]:
    yield from ()


@dataclass(frozen=True)
class Loss:
    """A loss of samples.

    code: `module.function`, which takes (logits, labels, class counts) and its constants; None where the loss is part
    of its learner, or the user's own.
    constants: data set of the original (with its noise, where they hold for one kind of noise only) → name → value;
    None is the default of the code.
    balanced: the constants were tuned on balanced data; on other data a run says where its constants come from.
    learners: the learners that take it; own_method: why only one method has it, as the end of a sentence.
    cosine: its main head is a cosine classifier, with the constant `scale`.
    weighted: samples are weighted by class from the first epoch on.
    plain_mean: weighted values are averaged as they are, not divided by the sum of the weights (algorithms/methods.md
    §3.1). neutral: values of constants that change nothing.
    below: constants with an upper bound of their own, and why. refuses: sentences against constants that do not go
    together.
    remembers: what it keeps of every sample, as the end of a sentence; empty: nothing. Its code is a class, see
    `parts.stateful`, and it takes samples unmixed. once: it takes each of them once an epoch.
    """

    code: str | None
    constants: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    balanced: bool = False
    learners: tuple[str, ...] = ("single",)
    own_method: str = ""
    cosine: bool = False
    weighted: bool = False
    plain_mean: bool = False
    neutral: Mapping[str, float] = field(default_factory=dict)
    below: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    refuses: Callable[[LossConfig], Iterator[str]] = _no_refusal
    remembers: str = ""
    once: bool = False


def _ccs_refuses(loss: LossConfig) -> Iterator[str]:
    """A window in which not even confidences that rise all the time are told from chance."""
    least = NormalDist().inv_cdf(1 - loss.level)
    able = next(n for n in range(3, 1000) if n * (n - 1) / 2 - 1 > least * (n * (n - 1) * (2 * n + 5) / 18) ** 0.5)
    if loss.window < able:
        yield (
            f"method.loss.window={loss.window} is too short for a trend at method.loss.level={loss.level:g}: set "
            f"method.loss.window={able} or more"
        )


def _in(function: str) -> str:
    return f"sfa_bench.parts.losses.{function}"


LOSSES: Mapping[str, Loss] = {
    "ce": Loss(_in("cross_entropy"), learners=("single", "rolt", "har")),
    "cb_ce": Loss(_in("cross_entropy"), weighted=True),
    "focal": Loss(_in("focal"), {ANY: {"gamma": 1.0}}, plain_mean=True),
    "balanced_softmax": Loss(_in("balanced_softmax")),
    "logit_adjust": Loss(_in("logit_adjust"), {ANY: {"tau": 1.0}}),
    "ldam": Loss(_in("ldam"), {ANY: {"scale": 30.0, "margin": 0.5}}, learners=("single", "rolt"), cosine=True),
    "mae": Loss(_in("mae")),
    "gce": Loss(_in("generalised_cross_entropy"), {ANY: {"q": 0.7}}, balanced=True),
    "sce": Loss(
        _in("symmetric_cross_entropy"),
        {
            "cifar10": {"alpha": 0.1, "beta": 1.0},
            "cifar100": {"alpha": 6.0, "beta": 0.1},
            "webvision": {"alpha": 10.0, "beta": 1.0},
            "mnist": {"alpha": 0.01, "beta": 1.0},
        },
        balanced=True,
    ),
    "nce_rce": Loss(
        _in("nce_rce"),
        {
            "cifar10": {"alpha": 1.0, "beta": 1.0},
            "cifar100": {"alpha": 10.0, "beta": 0.1},
            "webvision": {"alpha": 50.0, "beta": 0.1},
            "mnist": {"alpha": 1.0, "beta": 10.0},
        },
        balanced=True,
    ),
    "nce_mae": Loss(
        _in("nce_mae"),
        {
            "cifar10": {"alpha": 1.0, "beta": 1.0},
            "cifar100": {"alpha": 10.0, "beta": 1.0},
            "webvision": {"alpha": 50.0, "beta": 1.0},
            "mnist": {"alpha": 1.0, "beta": 10.0},
        },
        balanced=True,
    ),
    "nfl": Loss(
        _in("normalised_focal"),
        {ANY: {"gamma": 0.5, "scale": 1.0}, "cifar10 symmetric": {"gamma": 0.5, "scale": 10.0}},
        balanced=True,
    ),
    "ngce": Loss(
        _in("normalised_gce"),
        {
            "cifar10": {"q": 0.1, "scale": None},
            "cifar100": {"q": 0.7, "scale": None},
            "mnist": {"q": 0.1, "scale": None},
            "mnist symmetric": {"q": 0.1, "scale": 10.0},
        },
        balanced=True,
        neutral={"scale": 1.0},
    ),
    # The paper tries a of 10 to 40, anew for each data set and noise; one for all is ours.
    "jal_ce": Loss(_in("jal_ce"), {ANY: {"alpha": 1.0, "beta": 1.0, "a": 30.0}}, balanced=True),
    "jal_fl": Loss(_in("jal_fl"), {ANY: {"alpha": 1.0, "beta": 1.0, "gamma": 0.5, "a": 30.0}}, balanced=True),
    "elr": Loss(
        None,
        {
            "cifar10": {"beta": 0.7, "weight": 3.0},
            "cifar10 asymmetric": {"beta": 0.9, "weight": 1.0},
            "cifar100": {"beta": 0.9, "weight": 7.0},
            "webvision": {"beta": 0.7, "weight": 3.0},
            "clothing1m": {"beta": 0.7, "weight": 3.0},
        },
        balanced=True,
        learners=("elr",),
        own_method="keeps targets of its own: set method=elr",
        below={"beta": (1.0, "averages targets")},
    ),
    "sop": Loss(
        "sfa_bench.parts.sop.SparseNoise",
        {
            "cifar10": {"lr_u": 10.0, "lr_v": 10.0},
            "cifar10 asymmetric": {"lr_u": 10.0, "lr_v": 100.0},
            "cifar100": {"lr_u": 1.0, "lr_v": 10.0},
            "cifar100 asymmetric": {"lr_u": 1.0, "lr_v": 100.0},
            "clothing1m": {"lr_u": 0.1, "lr_v": 1.0},
        },
        balanced=True,
        remembers="learns the noise of every sample's label",
    ),
    "ccs": Loss(
        "sfa_bench.parts.ccs.RisingClasses",
        {ANY: {"level": 0.1, "window": 30}},
        balanced=True,
        refuses=_ccs_refuses,
        remembers="follows what the network predicts for every sample, epoch by epoch",
        once=True,
    ),
    "external": Loss(None),
}

NAMES = named_by_users(LOSSES)  # that can be set

if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[NAMES]


@dataclass(frozen=True)
class LossConfig(Brought):
    """A constant is null where the loss has none of that name; otherwise null stands for the data set's value
    (choices/losses.py)."""

    name: LossName = option("ce", "the main head's, by its method's name")
    alpha: float = option(None, "sce, nce_*, jal_*: weight of the first part", low=0, auto=True)
    beta: float = option(
        None, "sce, nce_*, jal_*: weight of the second part; elr: smoothing of the targets", low=0, auto=True
    )
    q: float = option(None, "gce, ngce: between cross-entropy (0) and absolute error (1)", above=0, high=1, auto=True)
    gamma: float = option(None, "focal, nfl, jal_fl: focusing", low=0, auto=True)
    a: float = option(None, "jal_*: what the label's probability is compared with", low=1, auto=True)
    scale: float = option(None, "nfl, ngce: factor; ldam: of the cosines", above=0, auto=True)
    tau: float = option(None, "logit_adjust: strength of the prior", low=0, auto=True)
    margin: float = option(None, "ldam: largest margin, that of the rarest class", low=0, auto=True)
    weight: float = option(None, "elr: of the regulariser", low=0, auto=True)
    lr_u: float = option(None, "sop: learning rate of the noise at the label", above=0, auto=True)
    lr_v: float = option(None, "sop: learning rate of the noise elsewhere", above=0, auto=True)
    level: float = option(None, "ccs: of the test for a trend", low=1e-6, below=0.5, auto=True)
    window: int = option(None, "ccs: epochs that a trend is looked for in", low=3, high=150, auto=True)
    transferred: bool = option(False, derived=True)  # constants from balanced data, or from another data set
    revision: int = option(1, "raised when a change of your own code changes results", low=1, fixed=True)


def losses_of(learner: str) -> list[str]:
    """The losses that a learner takes; empty where there is no choice."""
    return [name for name, loss in LOSSES.items() if learner in loss.learners]


def row_of(loss: str, source: str, noise: str) -> str:
    """The row of a loss's constants that a data set takes."""
    rows = LOSSES[loss].constants
    wanted = ROWS.get(source, source)
    return next(row for row in (f"{wanted} {noise}", ANY, source, wanted, "cifar10") if row in rows)


def knows_noise(config: RunConfig) -> bool:
    """Whether the loss has constants tuned for this kind of noise, so that the method knows the noise type."""
    loss, source = config.method.loss.name, config.dataset.source
    return bool(LOSSES[loss].constants) and row_of(loss, source, config.noise.name) != row_of(loss, source, "")


def resolve_loss(config: RunConfig) -> LossConfig:
    """The loss configuration with a value for every constant that this loss has, and None for the others."""
    loss, source = config.method.loss, config.dataset.source
    described, nothing = LOSSES[loss.name], dict.fromkeys(CONSTANTS)
    if not described.constants:
        return replace(loss, **nothing, transferred=False)  # type: ignore[arg-type]
    row = row_of(loss.name, source, config.noise.name)
    table = described.constants[row]
    given = {name: getattr(loss, name) for name in table if getattr(loss, name) is not None}
    even = config.imbalance.name == "none" or config.imb_factor == 1
    elsewhere = row != ANY and source not in row.split()
    taken = any(value is not None and name not in given for name, value in table.items())
    transferred = described.balanced and taken and (elsewhere or not even)
    constants: dict[str, Any] = {**nothing, **table, **given}
    return replace(loss, **constants, transferred=transferred)
