"""The typed, closed configuration of one run (explanation/runs.md §2): every key, its type, its range and one line of
help.

The sections of what can be chosen are described with it, in `choices/`.

A field's type says what may be set: `Literal` lists the choices, a range stands in the field's metadata. A field
marked `auto` may be null in YAML and on the command line (null = the recipe's or the data set's own); after
`compose` it has a value. A `derived` field cannot be set at all.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sfa_bench.choices import loggers
from sfa_bench.choices.classifiers import ClassifierConfig
from sfa_bench.choices.methods import MethodConfig
from sfa_bench.choices.models import ModelConfig
from sfa_bench.choices.noises import NoiseConfig
from sfa_bench.choices.options import CORES, LONGEST, MANY, SEEDS, option, section
from sfa_bench.choices.recipes import Optimizer, Schedule
from sfa_bench.choices.selectors import PluginConfig
from sfa_bench.choices.sources import DatasetConfig

DEVICES = "auto cpu cuda cuda:1 mps, or [cuda:0,cuda:1]"
DEVICE = r"auto|(cpu|mps|cuda|xpu)(:\d+)?"


@dataclass(frozen=True)
class EvalConfig:
    every: int = option(1, "evaluate after every n-th epoch, and always after the last", low=1, high=LONGEST)
    ensemble: Literal["logit_sum", "prob_mean", "main", "abc"] = option(
        "logit_sum", "which heads predict, and how they are combined"
    )
    batch_size: int = option(
        256,
        "batch size of evaluation and selection passes (of small images 8 times as many on a GPU)",
        low=1,
        high=MANY,
    )
    test: bool = option(True, "score the test set; false: the validation set alone, and the test set is left out")


@dataclass(frozen=True)
class TunedConfig:
    file: str | None = option(None, "what sfa-bench tune has chosen: marks a run whose values are these")
    # Of that file, these alone are part of a run's identity.
    trials: int | None = option(None, derived=True)
    val: str | None = option(None, derived=True)  # its validation set


@dataclass(frozen=True)
class RecordConfig:
    probes: int | None = option(None, "save what selectors see every n-th epoch, for replay", low=1, high=LONGEST)
    train_probability: Literal["auto"] | bool = option(
        "auto", "save what the trained networks say of the training samples; auto = up to 20 million numbers a network"
    )


@dataclass(frozen=True)
class ImbalanceConfig:
    name: Literal["exp", "step", "none"] = option("exp", "profile of the class counts", fixed=True)


@dataclass(frozen=True)
class Effective:
    """Values that act in this run, after scaling to its length (protocol.md §3)."""

    beta: float
    phi: float
    ramp_epochs: float
    lr_drop_epoch: int  # first epoch (from 1) with the lower learning rate
    plain_batch: int  # of warm-up and single-network steps
    drop_last: bool = False  # an incomplete last plain batch is left out
    schedule: str = "step"  # of the learning rate: the one drop, or an original's own
    adam: bool = False


@dataclass(frozen=True)
class RecipeConfig:
    name: Literal["matched", "native"] = option("matched", "whose schedule", fixed=True)
    optimizer: Optimizer = option(None, "null = recipe's: SGD, and an original's own; lr is a matter of it", auto=True)
    schedule: Schedule = option(None, "of the learning rate: the one drop, half a cosine to 0, or one cycle", auto=True)
    lr_warmup: int = option(
        0, "epochs in which the learning rate rises linearly to its full value", low=0, high=LONGEST
    )
    nesterov: bool = option(False, "Nesterov's momentum, of SGD")
    clip: float | None = option(None, "largest norm of a network's gradient; a longer one is scaled to it", above=0)
    ema: float | None = option(
        None,
        "decay per step of an average of weights, which is what is evaluated",
        above=0,
        below=1,
    )
    momentum: float = option(None, "SGD momentum (null = recipe's)", low=0, below=1, auto=True)
    weight_decay: float = option(None, "weight decay on all parameters (null = recipe's)", low=0, auto=True)
    milestone: float = option(None, "the learning rate drops in epochs e > milestone*E", above=0, high=1, auto=True)
    lr_drop: float = option(0.1, "factor of that drop", above=0, high=1)
    effective: Effective = option(None, derived=True)


@dataclass(frozen=True)
class RunConfig:
    """One run, resolved. Learning rate per step, batch_size = labelled batch B; warm-up and single-network steps 2B."""

    replicate: int = option(0, "sets seed and data_seed", low=0, below=SEEDS)
    seed: int = option(0, "training: weights, order, augmentation (default: replicate)", low=0, below=SEEDS)
    data_seed: int = option(0, "subset and label noise (default: replicate)", low=0, below=SEEDS)
    noise_ratio: float = option(0.4, "share of noisy labels", low=0, below=1)
    imb_factor: float = option(0.1, "smallest class / largest class", above=0, high=1)
    epochs: int = option(None, "epochs (null = recipe's)", low=1, high=LONGEST, auto=True)
    warmup_epochs: int = option(
        None, "epochs before the first selection (null = recipe's, scaled with epochs)", low=0, high=LONGEST, auto=True
    )
    batch_size: int = option(
        None, "labelled batch; warm-up uses twice as many (null = recipe's)", low=2, high=MANY, auto=True
    )
    lr: float = option(None, "learning rate (null = recipe's)", above=0, auto=True)
    threads: int | None = option(None, "CPU threads (null = cores / parallel jobs)", low=1, high=CORES)
    device: str | tuple[str, str] = option("auto", DEVICES, pattern=DEVICE, form=DEVICES)
    precision: Literal["fp32", "tf32", "bf16", "auto"] = option(
        "fp32", "precision of the backbone in training (tf32: on CUDA); all else is fp32"
    )
    deterministic: bool = option(True, "CUDA: only deterministic kernels; false takes the fastest")
    compile: bool = option(False, "full batches train through torch.compile; the same to rounding")
    data_dir: str = option(
        "data", "folder or file of the data set (null = data, or where a package has installed it)", auto=True
    )
    runs_dir: str = option("runs", "where runs are kept")
    checkpoint_seconds: float = option(
        30.0, "at most one checkpoint in this many seconds; 0 = after every epoch", low=0
    )
    keep_checkpoint: Literal["final", "all", "none"] = option("final", "what stays on disk when a run is done")
    share_warmup: bool = option(True, "runs of a sweep with identical epochs before the first selection share them")
    fail_fast: bool = option(False, "a failed run stops its sweep; runs at work keep their state")
    retry_failed: bool = option(True, "retry runs that failed before")
    rerun: bool = option(False, "train a finished run again in its place; its record is kept until that is done")
    isolate: bool = option(True, "each run of a sweep in a process of its own; false for debugging")
    jobs_per_gpu: int = option(1, "isolated runs of a sweep that share one GPU of this machine", low=1, high=CORES)
    logger: str | tuple[str, ...] = option(loggers.NONE, loggers.HELP, wrong=loggers.wrong)
    eval: EvalConfig = section(EvalConfig)
    record: RecordConfig = section(RecordConfig)
    tuned: TunedConfig = section(TunedConfig)
    dataset: DatasetConfig = section(DatasetConfig)
    noise: NoiseConfig = section(NoiseConfig)
    imbalance: ImbalanceConfig = section(ImbalanceConfig)
    method: MethodConfig = section(MethodConfig)
    plugin: PluginConfig = section(PluginConfig)
    classifier: ClassifierConfig = section(ClassifierConfig)
    model: ModelConfig = section(ModelConfig)
    recipe: RecipeConfig = section(RecipeConfig)
    names: dict[str, str] = field(default_factory=dict, metadata={"derived": True})

    @property
    def recorded_names(self) -> dict[str, str]:
        """`names` as in folders, records and tables: the data set by its identity, not by the choice that was set."""
        return {**self.names, "dataset": self.dataset.name} if self.dataset.name else dict(self.names)

    @property
    def trained(self) -> RunConfig:
        """The run whose features a decoupled classifier is fitted on; this one where it has none."""
        return replace(self, classifier=ClassifierConfig(), names={**self.names, "classifier": "joint"})

    def to_plain(self) -> dict[str, Any]:
        """Plain types, each value under the path at which it is set (the scaled ones under recipe.effective)."""
        plain = _plain(self)
        del plain["names"]
        for node in (plain["method"]["loss"], *(plain[group] for group in GROUPS)):
            arguments = node.pop("arguments", {})
            if (target := node.pop("target", None)) is not None:
                node |= {"_target_": target, **arguments}
        for key in ("device", "logger"):
            if isinstance(plain[key], tuple):
                plain[key] = list(plain[key])
        return plain


def replaced(section: Any, path: str, **values: Any) -> Any:
    """The configuration, or a section of it, with other values in the section at a path."""
    name, _, rest = path.partition(".")
    inner = getattr(section, name)
    return replace(section, **{name: replaced(inner, rest, **values) if rest else replace(inner, **values)})


def _plain(section: Any) -> dict[str, Any]:
    # Not dataclasses.asdict: its deep copies were half of the time that planning a large sweep took.
    return {
        name: _plain(value) if hasattr(value, "__dataclass_fields__") else dict(value) if name == "arguments" else value
        for name, value in vars(section).items()
    }


GROUPS = ("dataset", "noise", "imbalance", "method", "plugin", "classifier", "model", "recipe")
SEED_KEYS = ("replicate", "seed", "data_seed")  # in which the replicates of a setting differ
CHOSEN = (*GROUPS, "loss")  # groups of conf/ with a default; a loss fills method.loss
