"""The typed, closed configuration of one run (design.md §3): every key, its type, its range and one line of help.

A field's type says what may be typed: `Literal` lists the choices, a range stands in the field's metadata. A field
marked `auto` may be null in YAML and on the command line (null = the recipe's or the data set's own); after
`compose` it has a value. A `derived` field cannot be typed at all.
"""

# ruff: noqa: RUF009

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sfa_bench.choices.classifiers import CLASSIFIERS
from sfa_bench.choices.losses import LOSSES
from sfa_bench.choices.models import MODELS
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.selectors import NAMES as SELECTOR_NAMES


def option(default: Any = None, help: str = "", **limits: Any) -> Any:
    """A field with its default, its help line and what the checks need.

    limits: `low`/`high` (inclusive), `above`/`below` (exclusive), `pattern` (of a string), `auto` (null allowed and
    resolved later), `derived` (never typed), `fixed` (comes with the choice of a group, not typed by itself).
    """
    return field(default=default, metadata={"help": help, **limits})


def section(cls: type, help: str = "", **limits: Any) -> Any:
    """A nested group of options."""
    return field(default_factory=cls, metadata={"help": help, **limits})


if TYPE_CHECKING:
    LossName = str
    ModelName = str
    NoiseName = str
    SelectorName = str
    ClassifierName = str
else:
    LossName, ModelName, NoiseName = Literal[tuple(LOSSES)], Literal[tuple(MODELS)], Literal[tuple(NOISES)]
    SelectorName, ClassifierName = Literal[SELECTOR_NAMES], Literal[tuple(CLASSIFIERS)]

SEEDS = 2**63  # what Torch's and NumPy's generators take, exclusive
LONGEST = 10**6  # epochs: beyond any training
MANY = 10**9  # samples, pixels, channels: beyond any data set and any machine
CORES = 4096  # beyond any machine
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
DEVICE = r"auto|(cpu|mps|cuda|xpu)(:\d+)?"
MAX_PIXELS = 89_478_485  # from which on Pillow warns; it opens no picture with more than twice as many


@dataclass(frozen=True)
class EvalConfig:
    every: int = option(1, "test after every n-th epoch, and always after the last", low=1, high=LONGEST)
    ensemble: Literal["logit_sum", "prob_mean", "main", "abc"] = option("logit_sum", "which outputs predict")
    batch_size: int = option(
        256, "images a batch in evaluation and selection passes (on a GPU 8 times as many small ones)", low=1, high=MANY
    )


@dataclass(frozen=True)
class ShotsConfig:
    basis: Literal["clean", "observed"] = option("clean", "class counts that define many / medium / few")


@dataclass(frozen=True)
class RecordConfig:
    probes: int | None = option(None, "save what selectors see every n-th epoch, for replay", low=1, high=LONGEST)


Source = Literal[
    "digits",
    "fashion_mnist",
    "cifar10",
    "cifar100",
    "webvision",
    "clothing1m",
    "synthetic",
    "arrays",
    "folder",
    "csv",
]


@dataclass(frozen=True)
class DatasetConfig:
    name: str = option(
        None, "identity of the data in folders and tables (required for arrays, folder, csv)", pattern=NAME
    )
    source: Source = option("digits", "the reader", fixed=True)
    human: bool = option(False, "has the labels that people gave (noise=human)", fixed=True)
    normalise: Literal["fashion_mnist", "cifar10", "cifar100", "imagenet", "clothing1m"] | None = option(
        None, "whose mean and std (null = its own)"
    )
    checksum: bool = option(
        True, "verify official checksums; false admits your own files of the same format, as another run"
    )
    generator: Literal["project", "legacy"] = option("project", "legacy = the releases' exact subsets and labels")
    val: Literal["none", "noisy", "clean_balanced"] = option("none", "validation set, held out of the training set")
    val_fraction: float | None = option(None, "share held out (null = 0.1 where val is set)", above=0, below=1)
    shots: ShotsConfig = section(ShotsConfig)
    resize: int = option(
        None, "image files: pixels that the shorter side is scaled to (null = its own)", low=8, high=2**15, auto=True
    )
    crop: int = option(
        None, "image files: side of the square that a network sees (null = its own)", low=8, high=2**15, auto=True
    )
    random_crop: Literal["resized", "plain"] = option(
        None, "image files: training views by RandomResizedCrop, or RandomCrop (null = its own)", auto=True
    )
    flip: bool = option(True, "image files: training views are flipped with probability 1/2")
    warmup_draw: int = option(
        None,
        "image files: balanced draw for an epoch without selection (null = own, 0 = all)",
        low=0,
        high=MANY,
        auto=True,
    )
    selection_draw: int = option(
        None, "image files: balanced draw for each selection (null = own, 0 = all)", low=0, high=MANY, auto=True
    )
    on_bad_image: Literal["error", "skip"] = option("error", "image files that cannot be read: refuse, or leave out")
    max_pixels: int = option(
        MAX_PIXELS, "image files: one that claims more is one that cannot be read", low=1, high=2 * MAX_PIXELS
    )
    cache: Literal["auto", "on", "off"] = option(
        "auto", "image files: keep them decoded on disk (auto = where half of the free space is enough)"
    )
    cache_dir: str | None = option(None, "where that is kept (null = .sfa_bench beside the images)")
    workers: int | None = option(None, "processes that read image files (null = threads; 0 = none)", low=0, high=CORES)
    classes: int = option(10, "synthetic: classes", low=2, high=MANY)
    size: int = option(500, "synthetic: samples a class before the imbalance", low=2, high=MANY)
    test_size: int = option(100, "synthetic: test samples a class", low=1, high=MANY)
    dim: int = option(32, "synthetic: dimensions", low=1, high=MANY)
    groups: int = option(3, "synthetic: groups of classes that lie together", low=1, high=MANY)
    overlap: float = option(1.0, "synthetic: the larger, the nearer are the classes of a group", above=0, high=MANY)
    submodes: int = option(1, "synthetic: modes of each class of the lower half", low=1, high=MANY)
    revision: int = option(1, "raised when a change of subset or reader changes results", low=1, fixed=True)


HumanLabels = Literal["worst", "aggre", "rand1", "rand2", "rand3", "noisy", "clean"]
Count = Literal["auto", "exact", "exact_per_class", "bernoulli"]


@dataclass(frozen=True)
class NoiseConfig:
    name: NoiseName = option("joint", "the noise law", fixed=True)
    count: Count = option("auto", "how many labels flip: auto = the law's usual way")
    include_self: bool = option(False, "a drawn label may be the old one (joint, symmetric)")
    map: Literal["default", "block5"] = option("default", "class map of asymmetric noise; block5 only on cifar100")
    labels: HumanLabels | None = option(None, "human: null = worst, on cifar100n noisy")
    file: str | None = option(None, "text or .npy file with a row-stochastic KxK matrix (noise=matrix)")
    assumed_rate: float | None = option(None, "rate that methods are told (null = noise_ratio)", low=0, below=1)
    revision: int = option(1, "raised when a change of the noise changes results", low=1, fixed=True)


@dataclass(frozen=True)
class ImbalanceConfig:
    name: Literal["exp", "step", "none"] = option("exp", "profile of the class counts", fixed=True)


@dataclass(frozen=True)
class LossConfig:
    """Constants are null where the loss has none of that name; else the data set's own (choices/losses.py)."""

    name: LossName = option("ce", "the main head's, by its method's name")
    alpha: float = option(None, "sce, nce_*: weight of the first part", low=0, auto=True)
    beta: float = option(None, "sce, nce_*: weight of the second part; elr: smoothing of the targets", low=0, auto=True)
    q: float = option(None, "gce, ngce: between cross-entropy (0) and absolute error (1)", above=0, high=1, auto=True)
    gamma: float = option(None, "focal, nfl: focusing", low=0, auto=True)
    scale: float = option(None, "nfl, ngce: factor; ldam: of the cosines", above=0, auto=True)
    tau: float = option(None, "logit_adjust: strength of the prior", low=0, auto=True)
    margin: float = option(None, "ldam: largest margin, the rarest class's", low=0, auto=True)
    weight: float = option(None, "elr: of the regulariser", low=0, auto=True)
    transferred: bool = option(False, derived=True)  # constants from balanced data, or from another data set


@dataclass(frozen=True)
class SelectorConfig:
    name: SelectorName = option("none", "who decides which labels are clean")
    variant: Literal["usual", "webvision"] = option(
        None, "loss_gmm, proto: their mixtures (null = usual, webvision in its native recipe)", auto=True
    )
    view: Literal["test", "train"] = option("test", "images of the selection pass: test, or augmented as in training")
    no_clean_class: Literal["keep_all", "none"] = option(
        "keep_all", "a class with no sample selected: keep all or none"
    )


@dataclass(frozen=True)
class MethodConfig:
    learner: Literal["single", "elr", "coteaching", "rolt", "dividemix", "external"] = option(
        "single", "the code", fixed=True
    )
    networks: int = option(1, "2 = an ensemble of two independent networks", low=1, high=2)
    mixup: bool = option(False, "train on mixed pairs of samples")
    schedule: Literal["none", "drw", "drs"] = option("none", "class weights, or resampling, from e > 0.8E on")
    class_beta: float = option(0.9999, "effective number of samples (0 = no weighting)", low=0, below=1)
    count_floor: float = option(1.0, "smallest class count in weights", above=0)
    plus: bool = option(False, "ELR+: two networks with averaged twins, and mixup")
    predict: Literal["twins", "trained"] = option("twins", "ELR+: what predicts; trained = as its release tests")
    forget_rate: float | None = option(None, "Co-teaching: share left out (null = told rate)", low=0, below=1)
    double_mean: bool = option(False, "Co-teaching: divide by the kept number once more, as the release")
    native: bool = option(None, "Co-teaching: no augmentation (null = in its native recipe)", auto=True)
    ensemble_bias: Literal["corrected", "release"] = option("corrected", "RoLT: bias of its running averages")
    loss: LossConfig = section(LossConfig)
    selector: SelectorConfig = section(SelectorConfig)
    lambda_u: float | Literal["paper"] = option(
        None, "weight of the unlabelled loss (null = 25, 0 on web data); paper = its 0 or 25", low=0, auto=True
    )
    alpha: float = option(None, "Beta parameter of mixup (null = 4, 0.5 on web data)", above=0, high=MANY, auto=True)
    forward: Literal["all", "labelled"] = option(
        None, "mixed rows that the network sees (null = all, labelled on web data without lambda_u)", auto=True
    )
    temperature: float = option(0.5, "sharpening of guessed labels", above=0)
    penalty: Literal["uniform", "none"] = option("uniform", "penalty on the mean prediction")
    guess_mode: Literal["train", "eval"] = option("train", "BatchNorm mode of the network that guesses its labels")
    partner: Literal["updated", "previous"] = option(
        None, "network 1 that guides network 2: updated, or the previous epoch's (null = recipe's)", auto=True
    )
    ramp_origin: Literal["one_based", "zero_based"] = option(
        None, "first epoch of the ramp (null = recipe's)", auto=True
    )
    ramp_epochs: float = option(16.0, "length of the ramp of lambda_u, nominal (per 200 epochs)", above=0, high=LONGEST)
    revision: int = option(1, "raised when a change of the method changes results", low=1, fixed=True)
    target: str | None = option(None, derived=True)  # module.Class of the user's own
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"derived": True})  # of that class


@dataclass(frozen=True)
class AbcConfig:
    counts: Literal["selected", "observed"] = option("selected", "class counts inside the balanced head's softmax")
    count_floor: float = option(1.0, "smallest count (release: 0)", low=0)
    detach: bool = option(False, "keep the balanced head's gradient out of the backbone")


@dataclass(frozen=True)
class GmmConfig:
    min_samples: int = option(2, "a class with fewer observed samples is kept whole", low=2, high=MANY)
    monotone: bool = option(False, "the clean probability never falls as the score rises")
    fit: Literal["sklearn", "batched"] = option(
        "sklearn", "batched = all classes at once in Torch; the same to rounding"
    )


@dataclass(frozen=True)
class PluginConfig:
    selector: Literal["none", "sfa", "external"] = option(
        "none", "selector the plug-in brings (replaces the method's)", fixed=True
    )
    moments: Literal["persistent", "release", "none"] = option("persistent", "running averages of the centroids")
    beta: float = option(
        None, "smoothing of the moments, nominal (null = 0.99, 0.9 on web data)", low=0, below=1, auto=True
    )
    phi: float = option(1.005, "growth of the gate's threshold an epoch (per 200 epochs)", above=0, high=10)
    selection_at: Literal["start", "end"] = option(
        "start", "end = as at the end of the epoch before, and moments begun twice (WebVision's release)"
    )
    tau0: float | None = option(None, "the gate's threshold at epoch 0 (null = 1/K)", low=0, below=1)
    samples: int = option(1, "draws of each centroid", low=1, high=10_000)
    draw: bool = option(True, "draw centroids; false uses their means")
    sample_min: int | Literal["auto", "release"] = option(
        "auto", "draw only classes with more gated samples", low=0, high=MANY
    )
    head: Literal["abc", "none"] = option("none", "auxiliary balanced classifier")
    main_subset: Literal["selected", "all"] = option("selected", "samples in the main loss of single-network methods")
    empty_class: Literal["carry", "error"] = option("carry", "a class with no gated sample keeps its moments, or fails")
    p_threshold: float = option(0.5, "clean probability above which a sample is selected", low=0, below=1)
    var_floor: float = option(1e-30, "smallest variance of a centroid", above=0)
    abc: AbcConfig = section(AbcConfig)
    gmm: GmmConfig = section(GmmConfig)
    revision: int = option(1, "raised when a change of the plug-in changes results", low=1, fixed=True)
    target: str | None = option(None, derived=True)  # module.Class of the user's own
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"derived": True})  # of that class


@dataclass(frozen=True)
class ClassifierConfig:
    name: ClassifierName = option("joint", "classifier fitted after training", fixed=True)
    bn_mode: Literal["eval", "train"] = option("eval", "BatchNorm of the frozen backbone (release: train)")
    epochs: int | None = option(None, "crt, lws: epochs", low=1, high=LONGEST)
    batch_size: int | None = option(None, "crt, lws: batch", low=2, high=MANY)
    lr: float | None = option(None, "crt, lws: learning rate, falling as a cosine", above=0)
    tau: float | None = option(None, "tau_norm: exponent (null = chosen); logit_adjust: strength", low=0)
    revision: int = option(1, "raised when a change of the classifier changes results", low=1, fixed=True)


@dataclass(frozen=True)
class ModelConfig:
    name: ModelName = option(None, "the backbone", auto=True, fixed=True)
    width: int | None = option(None, "channels of the first stage (null = recipe's)", low=1, high=MANY, auto=True)
    variant: Literal["dividemix", "canonical"] = option("dividemix", "preact_resnet18: the releases', or the paper's")
    pretrained: str | Literal[False] = option(
        None, "resnet50, inception_resnet_v2: a weight file (null = false, on clothing1m you choose)", auto=True
    )


@dataclass(frozen=True)
class Effective:
    """What acts in this run, after scaling to its length (design.md §3 "Other lengths")."""

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
    noise_ratio: float = option(0.4, "share of wrong labels", low=0, below=1)
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
    device: str | tuple[str, str] = option("auto", "auto cpu cuda cuda:1 mps, or [cuda:0,cuda:1]", pattern=DEVICE)
    precision: Literal["fp32", "tf32", "bf16", "auto"] = option(
        "fp32", "of the backbone in training (tf32: on CUDA); all else is fp32"
    )
    deterministic: bool = option(True, "CUDA: only kernels whose bits repeat; false takes the fastest")
    compile: bool = option(False, "full batches train through torch.compile; the same to rounding")
    data_dir: str = option("data", "folder of the data sets, or the .npz file of arrays")
    runs_dir: str = option("runs", "where runs are kept")
    checkpoint_seconds: float = option(30.0, "at most one checkpoint in this time; 0 = after every epoch", low=0)
    keep_checkpoint: Literal["final", "all", "none"] = option("final", "what stays on disk when a run is done")
    share_warmup: bool = option(True, "runs of a sweep with the same epochs before the first selection share these")
    fail_fast: bool = option(False, "a failed run stops its sweep; runs at work keep their state")
    retry_failed: bool = option(True, "try runs again that failed before")
    isolate: bool = option(True, "each run of a sweep in a process of its own; false for debugging")
    jobs_per_gpu: int = option(1, "isolated runs of sweeps that share a GPU of this machine", low=1, high=CORES)
    logger: Literal["none", "tensorboard"] = option("none", "tensorboard = event files in the run's folder too")
    eval: EvalConfig = section(EvalConfig)
    record: RecordConfig = section(RecordConfig)
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
        """`names` as folders, records and tables have them: the data set by its identity, not by the choice typed."""
        return {**self.names, "dataset": self.dataset.name} if self.dataset.name else dict(self.names)

    def to_plain(self) -> dict[str, Any]:
        """Plain types, each value under the path at which it is typed (the scaled ones under recipe.effective)."""
        plain = _plain(self)
        del plain["names"]
        for group in ("method", "plugin"):
            own = plain[group].pop("arguments")
            if (target := plain[group].pop("target")) is not None:
                plain[group] |= {"_target_": target, **own}
        if isinstance(plain["device"], tuple):
            plain["device"] = list(plain["device"])
        return plain


def _plain(section: Any) -> dict[str, Any]:
    # Not dataclasses.asdict: its deep copies were half of the time that planning a large sweep took.
    return {
        name: _plain(value) if hasattr(value, "__dataclass_fields__") else dict(value) if name == "arguments" else value
        for name, value in vars(section).items()
    }


GROUPS = ("dataset", "noise", "imbalance", "method", "plugin", "classifier", "model", "recipe")
