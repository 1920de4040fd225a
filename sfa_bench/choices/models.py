"""The backbones. A new one is a class, an entry here, and `conf/model/NAME.yaml`."""

# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sfa_bench.choices.options import MANY, NAME, Brought, named_by_users, option


@dataclass(frozen=True)
class Model:
    """A backbone: where its code is, and what it takes.

    code: `module.Class`, called with the number of channels if `takes_channels`, the side of the images [pixels] if
    `takes_side`, height and width and the images' mean and std if `takes_view`, and the options that it has; None: a
    class of the user's own.
    smallest: side [pixels] of the smallest images; 0 where only its code can tell.
    unknown: `module.function` of a name in the library that it stands for; gives a sentence where there is none.
    vectors: `module.Class` of what takes vectors in its place, called with their dimension; None: images only.
    width: channels of its first stage where a recipe has no other; None: it has one width.
    options: keys of `model` that act on it beside `width`.
    uncompiled: why `compile=true` is refused; empty where it is not.
    block_norms: its code names the BatchNorm layers of its blocks, at which a method may take gradients.
    """

    code: str | None
    smallest: int
    vectors: str | None = None
    width: int | None = None
    options: tuple[str, ...] = ()
    takes_channels: bool = True  # False: colour images alone
    takes_side: bool = False
    takes_view: bool = False
    unknown: str | None = None
    bfloat16_pays_on_cpu: bool = True
    uncompiled: str = ""
    block_norms: bool = False


MODELS: Mapping[str, Model] = {
    "convnet": Model(
        "sfa_bench.models.convnet.ConvNet",
        smallest=8,
        vectors="sfa_bench.models.mlp.Mlp",
        width=16,
        takes_side=True,
        bfloat16_pays_on_cpu=False,  # conversion costs as much as its small products save
        block_norms=True,
    ),
    # Three halvings of 25 pixels leave the 4×4 map that the last average pooling takes.
    "preact_resnet18": Model(
        "sfa_bench.models.preact_resnet.PreActResNet18",
        smallest=25,
        width=64,
        options=("variant",),
        block_norms=True,
    ),
    # Two halvings leave at least a 4×4 map.
    "resnet32": Model("sfa_bench.models.resnet.ResNet32", smallest=13, width=16, block_norms=True),
    "resnet34": Model("sfa_bench.models.resnet34.ResNet34", smallest=28, block_norms=True),
    # The unpadded convolutions need a 7×7 map.
    "cnn9": Model(
        "sfa_bench.models.cnn9.Cnn9",
        smallest=28,
        uncompiled="whose dropout draws from a stream of its own",
        block_norms=True,
    ),
    # Five halvings leave a 2×2 map, so that a BatchNorm can work on a single image; so does the next one's smallest.
    "resnet50": Model(
        "sfa_bench.models.resnet50.ResNet50",
        smallest=33,
        options=("pretrained",),
        takes_channels=False,
        block_norms=True,
    ),
    "inception_resnet_v2": Model(
        "sfa_bench.models.inception_resnet.InceptionResNetV2",
        smallest=107,
        options=("pretrained",),
        takes_channels=False,
    ),
    "timm": Model(
        "sfa_bench.models.timm_backbone.TimmBackbone",
        smallest=0,
        options=("name", "pretrained"),
        takes_view=True,
        unknown="sfa_bench.models.timm_backbone.unknown",
    ),
    "external": Model(None, smallest=1, vectors="as images"),  # it is told the channels and the size of its images
}

NAMES = named_by_users(MODELS)

# Where a name is one of many, known to a library alone.
LIBRARIES = tuple(name for name in NAMES if MODELS[name].unknown)

if TYPE_CHECKING:
    Library = str
else:
    Library = Literal[LIBRARIES]


@dataclass(frozen=True)
class ModelConfig(Brought):
    name: str = option(
        None, "the backbone; with model=timm its name there", auto=True, fixed=True, open=True, pattern=NAME
    )
    library: Library | None = option(None, "whose name it is (null = the suite's)", fixed=True)
    width: int | None = option(None, "channels of the first stage (null = recipe's)", low=1, high=MANY, auto=True)
    variant: Literal["dividemix", "canonical"] = option("dividemix", "preact_resnet18: the releases', or the paper's")
    pretrained: str | Literal[False] = option(
        None, "resnet50, inception_resnet_v2: a weight file (null = false, on clothing1m you choose)", auto=True
    )
    revision: int = option(1, "raised when a change of your own code changes results", low=1, fixed=True)

    @property
    def choice(self) -> str:
        """The key of its description in MODELS."""
        return self.library or self.name

    @property
    def chosen(self) -> str:
        """What to set for it: `model=convnet`, `model=timm model.name=resnet18`."""
        return f"model={self.name}" if self.library is None else f"model={self.library} model.name={self.name}"

    @property
    def described(self) -> Model:
        """Its description, of a name that was checked."""
        return MODELS[self.choice]

    @property
    def unknown(self) -> str:
        """A sentence where there is no description of this name; empty where there is one."""
        return "" if self.choice in MODELS else f"model.name={self.name}: must be one of {', '.join(NAMES)}"


def names_of(test: str) -> str:
    """The models for which an attribute is true (`vectors`, `takes_channels`) or that have an option, joined by
    *or*."""
    names = [name for name in NAMES if test in MODELS[name].options or getattr(MODELS[name], test, None)]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
