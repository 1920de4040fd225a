"""The counterpart of a published method in the suite, and the overrides that run it in the setting of a published
number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from analysis.reported import MODELS, Number
from analysis.runs import Run
from sfa_bench.config.compose import compose

REPLICATES = "replicate=0,1,2"
WEIGHTS = "model.pretrained=FILE"  # Clothing1M's originals start from ImageNet weights, which a user brings
# The share of noisy labels that the literature assumes where it is unknown: for methods that ask, and for costs.
ASSUMED = {"webvision": 0.2, "clothing1m": 0.385}


@dataclass(frozen=True)
class Counterpart:
    """words: the choices of method, plug-in and what the name stands for; native: the recipe is the original's own, on
    every data set on which a number is published; why: what a reader cannot guess.
    """

    words: str
    native: bool = False
    why: str = ""


OURS = {
    "ERM": Counterpart("method=ce plugin=none"),
    "LDAM": Counterpart("method=ldam plugin=none", native=True),
    "LDAM-DRW": Counterpart("method=ldam_drw plugin=none", native=True),
    "CRT": Counterpart("method=ce plugin=none classifier=crt", why="classifier on the features of cross-entropy's run"),
    "NCM": Counterpart("method=ce plugin=none classifier=ncm", why="classifier on the features of cross-entropy's run"),
    # Its native recipe is another network (nine layers, Adam, no augmentation) than any of these tables has.
    "Co-teaching": Counterpart("method=coteaching plugin=none"),
    "RoLT": Counterpart("method=rolt plugin=none", native=True),
    "RoLT-DRW": Counterpart("method=rolt_drw plugin=none", native=True),
    "RoLT+": Counterpart("method=rolt_plus plugin=none", native=True),
    "DivideMix": Counterpart("method=dividemix plugin=none", native=True),
    "DivideMix (user reproduction)": Counterpart("method=dividemix plugin=none", native=True),
    "SFA": Counterpart(
        "method=dividemix plugin=sfa",
        native=True,
        why="running averages as in SFA's paper; plugin=sfa_release is what its published script computes",
    ),
    "GCE": Counterpart("method=gce plugin=none"),
    "SL": Counterpart("method=sce plugin=none", why="SL is symmetric cross-entropy learning"),
    "ELR+": Counterpart("method=elr method.plus=true plugin=none", why="the original trains 15 epochs"),
    "HAR-DRW": Counterpart(
        "method=har_drw plugin=none",
        why="operations have the run that estimates the class weights, but not the second derivatives of the penalty, "
        "with which a step takes about twice as many",
    ),
    "TABASCO": Counterpart(
        "method=dividemix plugin=none method.selector.name=tabasco",
        native=True,
        why="+preset=release_tabasco also has the seed of its published script, and classes that may stay empty",
    ),
    "DaSC": Counterpart(
        "method=dasc plugin=abc",
        native=True,
        why="each sample has its own clean probability and its own key; method=dasc_release is what its published "
        "script computes",
    ),
}
# Published methods that the suite has not.
ABSENT = {
    *("RCAL", "RCAL+", "CDR", "MiSLAS", "Sel-CL+", "MentorNet", "INCV"),
    *("Forward", "Joint", "Pencil", "PLC", "D2L", "LRT", "MLNT"),
}
# Methods that the suite has, whose published numbers are all in settings in which it refuses them, and why.
REFUSED = {
    "HAR": "the suite has HAR, but not with the backbone that it has for WebVision, inception_resnet_v2, whose "
    "BatchNorm layers it does not know",
}


def ours(number: Number) -> Counterpart | None:
    """Our counterpart; None for a method that the suite has not, or not in the number's setting. Raises KeyError for a
    name that nobody has placed.
    """
    name = number.line["method"]
    return None if name in ABSENT or name in REFUSED else OURS[name]


def words(number: Number) -> tuple[str, ...] | None:
    """The overrides that run our counterpart in the number's setting; None where there is no counterpart."""
    method = ours(number)
    if method is None:
        return None
    where, line = number.where, number.line
    overrides = [f"dataset={where['dataset']}"]
    if line["noise"] != "natural":
        law = ["noise.include_self=true"] if line["noise"] == "symmetric_incl" else []
        law += _count(number)
        overrides += [f"noise={where['noise']}", *law, f"noise_ratio={where['noise_ratio']}"]
        overrides.append(f"imbalance={where['imbalance']}")
        overrides += [f"imb_factor={where['imb_factor']}"] if "imb_factor" in where else []
    overrides += method.words.split()
    if "method=coteaching" in overrides and where["dataset"] in ASSUMED:
        overrides.append(f"noise.assumed_rate={ASSUMED[where['dataset']]}")
    overrides += _constants(number)
    overrides += [f"model={MODELS[line['backbone']]}"] if line["backbone"] in MODELS else []
    overrides += [WEIGHTS] if where["dataset"] == "clothing1m" else []
    return (*overrides, "recipe=native" if method.native else "recipe=matched")


def _count(number: Number) -> list[str]:
    """Who is flipped, where the original's way is not the suite's default (algorithms/data.md §4): TABASCO, whose
    protocol DaSC has, draws each sample for itself; DivideMix takes ρN of all samples also for asymmetric noise.
    """
    line = number.line
    if _by_tabasco(number):
        return ["noise.count=bernoulli"]
    return ["noise.count=exact"] if line["noise"] == "asymmetric" and line["method"] == "DivideMix" else []


def _by_tabasco(number: Number) -> bool:
    """Whether the labels are made by TABASCO's protocol, as in its own paper."""
    return "TABASCO protocol" in number.line["note"] or number.line["paper"].startswith("TABASCO")


def doubt(number: Number) -> str:
    """Doubts about the setting behind a name; empty where there are none."""
    if number.line["noise"] == "asymmetric" and _by_tabasco(number):
        return "what TABASCO's release has for it flips each class to one other class that is drawn once: noise=flip"
    return ""


def _constants(number: Number) -> list[str]:
    """What DivideMix's appendix sets by noise rate: λ_u 0 at 20 % and for asymmetric noise, 150 at CIFAR-100's 80 % and
    90 %, 50 at CIFAR-10's 90 %; a threshold of 0.6 at 90 %.
    """
    line = number.line
    if not line["method"].startswith("DivideMix") or number.where["dataset"] not in ("cifar10", "cifar100"):
        return []
    ratio = float(line["noise_ratio"])
    if number.where["dataset"] == "cifar100":
        weight = "150" if ratio >= 0.5 else "25"
    else:
        weight = "50" if ratio >= 0.9 else "paper"
    return [f"method.lambda_u={weight}", *(["plugin.p_threshold=0.6"] if ratio >= 0.9 else [])]


@cache
def planned(overrides: tuple[str, ...]) -> Run:
    """A `Run` without results for these overrides. Raises ConfigError for invalid ones."""
    config = compose([word.replace(WEIGHTS, "model.pretrained=false") for word in overrides])
    plain = config.to_plain()
    if WEIGHTS in overrides:
        plain["model"]["pretrained"] = "FILE"
    return Run(Path(), {"config": plain, "names": config.recorded_names})


def command(overrides: tuple[str, ...]) -> str:
    return " ".join(["python run.py -m", REPLICATES, *overrides])
