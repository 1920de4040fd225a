"""Evaluation of a run's networks on the test sets and the validation set, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfa_bench.config.schema import RunConfig
from sfa_bench.data.types import Data, EvaluationSet, Images
from sfa_bench.engine.contract import Contract
from sfa_bench.engine.metrics import summarise, validation_metrics
from sfa_bench.engine.report import saves_train_probability, tested
from sfa_bench.engine.state import RunState

Answers = tuple[list[dict[str, np.ndarray]], dict[str, list[dict[str, np.ndarray]]]]


class Evaluation:
    """Evaluates the method of a run's state. All logits are checked by the contract and counted in the cost."""

    def __init__(self, config: RunConfig, data: Data, state: RunState):
        self.config, self.data, self.state = config, data, state
        self.answers: Answers | None = None  # the latest ones; the last epoch is always evaluated

    def due(self, e: int) -> bool:
        """Whether to evaluate: every `eval.every` epochs, and always in those that `final` and `last10` need."""
        needed = max(10, self.config.epochs // 20)
        return e % self.config.eval.every == 0 or e > self.config.epochs - needed

    def row(self, e: int, contract: Contract) -> dict[str, Any]:
        """The metrics of an epoch's line; also updates the epochs chosen by the validation set."""
        how, val, chosen = self.config.eval.ensemble, self.data.val, self.state.chosen
        logits, more = self.answers = self.answer(e, contract)
        row = tested(self.data, logits, more, how) if self.config.eval.test else {}
        if val is not None:
            answers, labels = self._predict(val, "validation", e, contract), val.labels.numpy()
            row |= validation_metrics(answers, labels, how, self.data.groups)
            if chosen is not None:
                chosen.update(e, answers, labels, logits)
        return row

    def answer(self, e: int, contract: Contract) -> Answers:
        """Logits of the test images, and of those of further test sets; none with `eval.test=false`."""
        if not self.config.eval.test:
            return [], {}
        more = {name: self._predict(part, name, e, contract) for name, part in self.data.more_tests.items()}
        return self._predict(self.data.test, "test", e, contract), more

    def of_training_samples(self, e: int, contract: Contract) -> list[dict[str, np.ndarray]] | None:
        """Logits of the training samples in test view, where the record is to hold what the networks say of them. As
        probes, they are no part of the cost.
        """
        if not saves_train_probability(self.config, self.data):
            return None
        return self._answers(self.data.view.images, "training", e, contract)

    def of_fold(self, e: int, contract: Contract) -> list[dict[str, np.ndarray]] | None:
        """Logits of the samples that `dataset.fold` leaves out of training; None where it leaves out none."""
        return None if self.data.fold is None else self._answers(self.data.fold.images, "held-out", e, contract)

    def _answers(self, images: Images, what: str, e: int, contract: Contract) -> list[dict[str, np.ndarray]]:
        answers = self.state.method.predict(images)
        contract.answers(answers, len(images), what, e)
        return answers

    def _predict(self, images: EvaluationSet, what: str, e: int, contract: Contract) -> list[dict[str, np.ndarray]]:
        method = self.state.method
        self.state.cost.evaluated += len(images.images) * len(method.networks)
        answers = method.predict(images.images)
        contract.answers(answers, len(images.images), what, e)
        return answers

    def summary(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The `metrics` and the `selection` of the record of a run that is done."""
        rows, chosen = self.state.rows, self.state.chosen
        metrics, selection = summarise(rows, self.config.epochs), rows[-1]["selection"]
        if chosen is not None:  # each network has an epoch of its own
            metrics.pop("val/epoch", None)
            accuracy_then = chosen.test_accuracy(self.data.test.labels.numpy())
            metrics |= {"test/acc/at_best_val": accuracy_then, "val/epochs": chosen.epochs}
        if (bayes := self.data.bayes) is not None:  # what is possible, beside what was reached
            metrics["test/acc/bayes"] = bayes.accuracy
            if selection:
                selection["auc_bayes"] = bayes.auc
        return metrics, selection
