"""Who decides which labels are clean (spec/sfa.md, spec/methods.md §7–9). A new one is a class and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Selector:
    """A selector of one network.

    code: `module.Class`, made by its `of` from `selectors.base.SelectorInputs`; None where nobody selects, or for a
    class of the user's own.
    mixtures: it fits mixtures, so that `plugin.gmm` and `plugin.p_threshold` act; by_class: one for each class.
    variants: `method.selector.variant` acts on it.
    options: keys of `plugin` that act on it alone; effective: of `recipe.effective`.
    balanced_head: it goes by the balanced head's logits where there is one.
    running_means: it keeps running averages of centroids unless `plugin.moments=none`.
    asks_rate: it is told the share of wrong labels; averaged_at: the share at which it averages over epochs.
    knows: what else it is told. plugin: the plug-in that brings it, where it cannot be typed.
    not_with: methods that it is refused with, and why.
    revision: raised when a change of it changes results.
    """

    code: str | None
    mixtures: bool = True
    by_class: bool = True
    variants: bool = False
    options: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    balanced_head: bool = False
    running_means: bool = False
    asks_rate: bool = False
    averaged_at: float | None = None
    knows: tuple[str, ...] = ()
    plugin: str | None = None
    not_with: Mapping[str, str] = field(default_factory=dict)
    revision: int = 1


SELECTORS: Mapping[str, Selector] = {
    "none": Selector(None, mixtures=False, by_class=False),
    "loss_gmm": Selector(
        "sfa_bench.selectors.loss.LossMixture", by_class=False, variants=True, asks_rate=True, averaged_at=0.9
    ),
    "loss_gmm_cls": Selector("sfa_bench.selectors.loss.ClassLossMixture"),
    # Since revision 2 these two see features in half precision, as a saved probe holds them.
    "proto": Selector("sfa_bench.selectors.prototype.Prototype", variants=True, revision=2),
    "sfa": Selector(
        "sfa_bench.selectors.sfa.StochasticFeatureAveraging",
        options=("moments", "selection_at", "tau0", "samples", "draw", "sample_min", "empty_class", "var_floor"),
        effective=("beta", "phi"),
        balanced_head=True,
        running_means=True,
        plugin="sfa",
        not_with={
            "rolt_plus": "method=rolt_plus with sfa is method=dividemix plugin=sfa: type that, or add plugin=none"
        },
        revision=2,
    ),
    "oracle": Selector("sfa_bench.selectors.oracle.Oracle", mixtures=False, by_class=False, knows=("clean_labels",)),
    "external": Selector(None, balanced_head=True),
}
NAMES = tuple(name for name in SELECTORS if name != "external")  # that are known to the configuration
