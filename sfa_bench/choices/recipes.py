"""What a recipe is: backbone and schedule of one data set, or of one original; and what of it a user may change
(protocol.md §3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["step", "cosine", "onecycle"]
WARMED_UP = ("step", "cosine")  # schedules that `lr_warmup` can come before
SHORTEST_ONECYCLE = 4  # epochs: in fewer the rate would only fall
# What a user changes of a recipe, and no data set or original has by itself. Runs of one recipe that differ in one of
# these are not alike.
CHANGED = (
    *(f"recipe.{key}" for key in ("optimizer", "schedule", "lr_warmup", "nesterov", "clip", "ema")),
    "dataset.augment",
)


@dataclass(frozen=True)
class Recipe:
    """Backbone and schedule. `nominal` = epochs that per-epoch constants refer to.

    method: the original's values of keys of `method` (`partner`, `selector.variant`), for those that are null.
    """

    model: str
    epochs: int
    warmup_epochs: int
    batch_size: int  # labelled; warm-up and single-network steps take twice as many
    lr: float = 0.02
    weight_decay: float = 5e-4
    momentum: float = 0.9
    milestone: float = 0.75  # the learning rate drops in epochs e > milestone * E
    nominal: int = 200
    own_batch: bool = False  # single-network steps take the batch itself, not twice as many
    drop_last: bool = False
    schedule: str = "step"
    adam: bool = False
    width: int | None = None  # of backbones that have several, instead of their own
    pretrained: bool = False  # it starts from weights that the user brings
    method: Mapping[str, Any] = field(default_factory=dict)


def refuses(config: RunConfig) -> Iterator[str]:
    """A sentence for each pair of values that do not go together."""
    recipe, schedule = config.recipe, config.recipe.effective.schedule
    if recipe.nesterov and recipe.optimizer != "sgd":
        other = f"recipe.optimizer={recipe.optimizer}" if recipe.optimizer else "this original's Adam"
        yield f"recipe.nesterov=true with {other}: it is a momentum of SGD; set recipe.optimizer=sgd, or leave it out"
    elif recipe.nesterov and recipe.momentum == 0:
        yield "recipe.nesterov=true with recipe.momentum=0: set a momentum above 0, or leave recipe.nesterov out"
    if recipe.lr_warmup and schedule not in WARMED_UP:
        own = f"recipe.schedule={schedule}" if recipe.schedule else "this original's schedule"
        yield (
            f"recipe.lr_warmup={recipe.lr_warmup} with {own}, which has its own beginning: set recipe.schedule="
            f"{' or '.join(WARMED_UP)}, or leave recipe.lr_warmup out"
        )
    elif recipe.lr_warmup >= config.epochs:
        yield (
            f"recipe.lr_warmup={recipe.lr_warmup} leaves nothing of epochs={config.epochs}: set recipe.lr_warmup below "
            f"{config.epochs}, or raise epochs"
        )
    if schedule == "onecycle" and config.epochs < SHORTEST_ONECYCLE:
        yield (
            f"recipe.schedule=onecycle rises in the first 30 % of the epochs, and epochs={config.epochs} leaves none: "
            f"set epochs={SHORTEST_ONECYCLE} or more, or recipe.schedule=cosine"
        )


def silent(config: RunConfig) -> Iterator[str]:
    """Keys of the recipe that cannot change this run, whatever their value."""
    recipe = config.recipe
    if recipe.optimizer is None:  # the original's own
        yield "recipe.optimizer"
    if recipe.lr_warmup == 1 and recipe.effective.schedule == "step":  # whose first epoch has the full rate
        yield "recipe.lr_warmup"
