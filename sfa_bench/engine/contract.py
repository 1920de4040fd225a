"""What a run requires of its method, checked as it trains. What a user's own class lacks is named, with the code to
write, before its numbers enter a record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench.choices.heads import ALL, HEADS, Head
from sfa_bench.errors import RunError
from sfa_bench.methods.base import Method
from sfa_bench.methods.networks import SMALLER_LR
from sfa_bench.models import Network
from sfa_bench.store.record import plain

if TYPE_CHECKING:
    from sfa_bench.config.schema import RunConfig

ENGINES_OWN = ("epoch", "phase", "selection", "seconds")  # reserved keys of an epoch's line, and reserved prefixes
MEASURED = ("test/", "test_", "val/")


class Contract:
    """Checks of a method during a run. Raises RunError, naming the method, where one fails."""

    def __init__(self, config: RunConfig, method: Method):
        self.config, self.method = config, method
        self.who = f"method={config.names.get('method')}"
        own = config.method.target is not None
        self.heads_may_rest = not own or config.eval.ensemble == "main"
        self.main_may_rest = not own

    def epoch(self, e: int) -> Mapping[str, Any]:
        """Train epoch e. Returns its figures."""
        watched = e > self.method.training.warmup_epochs and not (self.heads_may_rest and self.main_may_rest)
        watch = HeadWatch(self.method.networks) if watched else None
        figures = self.method.epoch(e)
        self._figures(figures, e)
        if self.method.selects_in(e) and not (self.method.selections and self.method.probes):
            self._refuse_unselecting(e)
        if watch is not None:
            trained = watch.saw_training()
            if not self.main_may_rest and figures["loss"] is not None:
                self._refuse_resting(watch, e)
                self.main_may_rest = True
            if self.heads_may_rest:
                return figures
            self.heads_may_rest = trained  # one epoch with a step tells
            if (idle := watch.idle()) is not None:
                k, head = idle
                share = "" if head.strength == 1 else f"{head.strength:g} * "
                raise RunError(
                    f"{self.who}: the {head.title} of network {k + 1}, which plugin={self.config.names['plugin']} "
                    f"adds, got no gradient in epoch {e}, and its logits would count in the accuracy: add its loss, "
                    f"F.cross_entropy(out.{head.name} + {share}self.counts_for_head(selection).clamp(min=1).log(), "
                    "labels), as docs/examples/bootstrapping.py does; or set plugin.head=none, or eval.ensemble=main"
                )
        return figures

    def _refuse_resting(self, watch: HeadWatch, e: int) -> None:
        if (k := watch.resting()) is not None:
            raise RunError(
                f"{self.who}: the main head of network {k + 1} did not change in epoch {e}, though the epoch returns a "
                "loss, and its logits count in the accuracy: call self.step(k, loss) for each of self.networks, or set "
                "networks_used to as many as are trained; an epoch that trains no head returns loss=None"
            )

    def _figures(self, figures: Any, e: int) -> None:
        call = f"{self.who}: epoch({e})"
        if not isinstance(figures, Mapping) or "loss" not in figures:
            raise RunError(
                f"{call} returns {_shown(figures)}: it must be a mapping of names to numbers, among them 'loss' (None "
                "without a step)"
            )
        for key, value in figures.items():
            if not isinstance(key, str) or key in ENGINES_OWN or key.startswith(MEASURED):
                raise RunError(f"{call} returns {key!r}, a name that is the suite's own: give it another one")
            try:
                plain(value)
            except TypeError as error:
                raise RunError(f"{call} returns {key}={_shown(value)}: it must be a number, or None") from error
        loss = figures["loss"]
        try:
            finite = loss is None or math.isfinite(loss)
        except (TypeError, ValueError) as error:
            raise RunError(f"{call} returns loss={_shown(loss)}: it must be a number, or None") from error
        if not finite:
            raise RunError(f"{call}: the training loss is {float(loss)}, not finite; {SMALLER_LR}")

    def _refuse_unselecting(self, e: int) -> None:
        plugin, selector = self.config.names["plugin"], self.config.method.selector.name
        brought = self.config.plugin.selector != "none"
        who = f"plugin={plugin} brings a selector" if brought else f"method.selector.name={selector} is a selector"
        out = "plugin=none (plugin=abc: the balanced head alone)" if brought else "method.selector.name=none"
        raise RunError(
            f"{self.who} does not select in epoch {e}, though {who}: call self.select(e) in epoch(e) where "
            f"self.selects_in(e), and learn from self.selections; or set {out}"
        )

    def answers(self, answers: Any, images: int, what: str, e: int) -> None:
        """Check the networks' logits for the `images` images of the set called `what` in epoch e."""
        check_answers(
            answers, images, self.method.training.view.num_classes, f"{self.who}: the {what} logits", f"epoch {e}"
        )


def check_answers(answers: Any, images: int, num_classes: int, which: str, when: str) -> None:
    """Raise RunError unless there is, for each network, a mapping from heads (`main` among them) to logits.

    The heads that count are [images, num_classes] finite numbers; others have a row for each image.
    """
    if not isinstance(answers, Sequence) or not answers or not all(isinstance(a, Mapping) for a in answers):
        raise RunError(f"{which} are {_shown(answers)}: predict must return a list with a mapping for each network")
    for k, heads in enumerate(answers, start=1):
        if "main" not in heads:
            raise RunError(f"{which} of network {k} have the heads {', '.join(map(str, heads)) or 'none'}: main lacks")
        for head, values in heads.items():
            array = np.asarray(values)
            wanted = (images, num_classes) if head in ALL else (images, *array.shape[1:])
            if array.shape != wanted or array.dtype.kind not in "fiu":
                raise RunError(
                    f"{which} of network {k}, head {head}, are {array.dtype} {list(array.shape)}: they must be numbers "
                    f"[{images}, {num_classes}]"
                )
            if not np.isfinite(array).all():
                raise RunError(f"{which} of network {k}, head {head}, are not finite in {when}; {SMALLER_LR}")


class HeadWatch:
    """Watches whether the networks' main heads are trained (None in `before`), and their further heads beside them."""

    def __init__(self, networks: Sequence[Network]):
        self.networks = networks
        self.touched: set[tuple[int, str]] = set()
        self.before = {
            (k, head): [p.detach().clone() for p in _free(network, "main" if head is None else head.name)]
            for k, network in enumerate(networks)
            for head in (None, *HEADS)
        }
        self.handles = [
            p.register_hook(partial(self._touch, k, head))
            for k, network in enumerate(networks)
            for head in ALL
            for p in _free(network, head)
        ]

    def _touch(self, k: int, head: str, gradient: Tensor) -> None:
        self.touched.add((k, head))

    def saw_training(self) -> bool:
        """Stop watching; returns whether a main head had a gradient."""
        for handle in self.handles:
            handle.remove()
        return any(head == "main" for _, head in self.touched)

    def resting(self) -> int | None:
        """The first network whose main head neither had a gradient nor changed."""
        for (k, head), before in self.before.items():
            if head is not None or not before or (k, "main") in self.touched:
                continue
            if all(torch.equal(a, b) for a, b in zip(_free(self.networks[k], "main"), before, strict=True)):
                return k
        return None

    def idle(self) -> tuple[int, Head] | None:
        """The first network with a head that neither had a gradient nor changed although its main head was trained."""
        for (k, head), before in self.before.items():
            if head is None:
                continue
            now = _free(self.networks[k], head.name)
            same = all(torch.equal(a, b) for a, b in zip(now, before, strict=True))
            if before and same and (k, "main") in self.touched and (k, head.name) not in self.touched:
                return k, head
        return None


def _free(network: Network, head: str) -> Iterator[Tensor]:
    """The trainable parameters of a head; a frozen one is left alone on purpose."""
    module = getattr(network, head, None)
    return (p for p in (() if module is None else module.parameters()) if p.requires_grad)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 60 else f"a {type(value).__name__}"
