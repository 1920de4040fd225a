"""From a configuration to the data of one run: source → long tail → noise → validation split (spec/data.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfa_bench.data import imbalance, instance, sources, validation
from sfa_bench.data.bayes import bounds
from sfa_bench.data.groups import shot_groups
from sfa_bench.data.legacy import LegacyGenerators
from sfa_bench.data.loader import to_float
from sfa_bench.data.noise import corrupt, noise_law, transition_matrix
from sfa_bench.data.sources import cifar, fashion_mnist, human
from sfa_bench.data.types import Data, EvaluationSet, LearnerView, Source, Transform
from sfa_bench.errors import DataError
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.streams import numpy_generator

if TYPE_CHECKING:
    from sfa_bench.config.schema import DatasetConfig, RunConfig

# whose constants `dataset.normalise` can borrow (spec/data.md §1)
NORMALISE = {name: (layout.mean, layout.std) for name, layout in cifar.LAYOUTS.items()} | {
    "fashion_mnist": (fashion_mnist.MEAN, fashion_mnist.STD)
}


def build(config: RunConfig) -> Data:
    """The data of one run. Subset, noise and split depend on `data_seed` alone, so that methods share their labels.

    Raises: DataError (or ConfigError) with a sentence before anything is trained.
    """
    dataset, seed = config.dataset, config.data_seed
    source, given_by_people = _load(config)
    clean, given = _labels(source, noisy=config.noise.name != "none")
    basis = given if clean is None else clean
    num_classes = source.num_classes

    held = np.zeros(len(basis), dtype=bool)
    available = np.bincount(basis, minlength=num_classes)
    if dataset.val == "clean_balanced":
        if clean is None:
            raise DataError("dataset.val=clean_balanced needs clean labels (y_train_clean); use dataset.val=noisy")
        assert dataset.val_fraction is not None
        quota = validation.balanced_quota(dataset.val_fraction, available)
        held = validation.hold_out(clean, quota, numpy_generator(seed, "validation"))
        available = available - quota

    counts = imbalance.class_counts(config.imbalance.name, config.imb_factor, len(basis), available)
    remaining = np.where(held, -1, basis)
    law = None
    if config.noise.name not in ("human", "instance"):
        targets = numpy_generator(seed, "noise_targets")
        law = noise_law(config.noise, config.noise_ratio, counts, dataset.source, targets, source.similar)
    if dataset.generator == "legacy":
        assert law is not None  # else validate has refused it
        legacy = LegacyGenerators(seed)
        index = legacy.take(remaining, counts)
        observed = legacy.corrupt(given[index], law, symmetric=config.noise.name == "symmetric")
    else:
        index = imbalance.take(remaining, counts, numpy_generator(seed, "subset"))
        if given_by_people is not None:
            observed = given_by_people[index]
        elif law is not None:
            observed = corrupt(given[index], law, numpy_generator(seed, "noise"))
        else:
            shown = _features(source, index)
            observed = instance.corrupt(shown, given[index], num_classes, config.noise_ratio, seed)

    val = None
    if dataset.val == "clean_balanced":
        val = _evaluation_set(source.train_images[held], basis[held])
    elif dataset.val == "noisy":
        assert dataset.val_fraction is not None
        quota = validation.noisy_quota(dataset.val_fraction, np.bincount(observed, minlength=num_classes))
        held = validation.hold_out(observed, quota, numpy_generator(seed, "validation"))
        val = _evaluation_set(source.train_images[index[held]], observed[held])
        index, observed = index[~held], observed[~held]

    view = LearnerView(
        _to_tensor(source.train_images[index]), torch.from_numpy(observed), num_classes, _transform(source, dataset)
    )
    test = _evaluation_set(source.test_images, source.test_labels)
    data = _describe(config, view, index, None if clean is None else clean[index], test, val)
    if source.log_density is None:
        return data
    if law is None:
        vectors = view.images.double().numpy()
        likelihood = instance.likelihood(vectors, observed, num_classes, config.noise_ratio, seed)
    else:
        likelihood = transition_matrix(law, counts)[:, observed].T
    bayes = bounds(
        source.log_density(view.images.numpy()),
        observed,
        data.clean_labels,
        likelihood,
        source.log_density(test.images.numpy()),
        test.labels.numpy(),
    )
    return replace(data, bayes=bayes)


def _load(config: RunConfig) -> tuple[Source, np.ndarray | None]:
    """The data set and, with noise=human, the labels that people gave to all of its training images."""
    dataset = config.dataset
    if config.noise.name != "human":
        return sources.load(dataset, config.data_dir, config.data_seed), None
    # Its file first: a user who lacks it does not wait for the images, which may have to be fetched.
    path = human.find(sources.existing(config.data_dir), dataset.source)
    source = sources.load(dataset, config.data_dir, config.data_seed)
    return source, human.load(path, str(config.noise.labels), source.train_labels, source.num_classes)


def _features(source: Source, index: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Positions in the subset → their flattened test views, float64 [n, D].

    With the data set's own mean and std: labels do not change with `dataset.normalise`, which is the networks'.
    """
    transform = Transform(source.mean, source.std)

    def features(positions: np.ndarray) -> np.ndarray:
        images = to_float(_to_tensor(source.train_images[index[positions]]), transform)
        return images.flatten(1).double().numpy()

    return features


def _labels(source: Source, noisy: bool) -> tuple[np.ndarray | None, np.ndarray]:
    """Clean labels (None: unknown), and the labels that noise starts from, int64 [n] each."""
    given = source.train_labels
    if source.labels_are_clean:
        return given, given
    truth = source.clean_labels
    if not noisy:
        return truth, given
    if truth is not None and not np.array_equal(truth, given):
        raise DataError(
            f"y_train differs from y_train_clean in {np.count_nonzero(truth != given)} places: it is noisy already; "
            "use noise=none, or leave y_train_clean out to take y_train as clean"
        )
    return given, given


def _describe(
    config: RunConfig,
    view: LearnerView,
    index: np.ndarray,
    clean: np.ndarray | None,
    test: EvaluationSet,
    val: EvaluationSet | None,
) -> Data:
    num_classes = view.num_classes
    observed = view.observed_labels.numpy()
    observed_counts = np.bincount(observed, minlength=num_classes)
    noise_rate = confusion = clean_counts = None
    if clean is not None:
        confusion = np.bincount(clean * num_classes + observed, minlength=num_classes**2)
        confusion = confusion.reshape(num_classes, num_classes)
        clean_counts = confusion.sum(axis=1)
        noise_rate = float((clean != observed).mean())
    rank_counts = observed_counts if clean_counts is None else clean_counts
    basis_counts = observed_counts if config.dataset.shots.basis == "observed" else rank_counts
    clean_labels = np.full(len(index), -1, dtype=np.int64) if clean is None else clean
    held_out = [test] if val is None else [test, val]
    return Data(
        view=view,
        index=index,
        clean_labels=clean_labels,
        test=test,
        val=val,
        noise_rate=noise_rate,
        confusion=confusion,
        clean_counts=clean_counts,
        observed_counts=observed_counts,
        fingerprints={
            "images": fingerprint(view.images.numpy(), *(part.images.numpy() for part in held_out)),
            "clean_labels": fingerprint(clean_labels, *(part.labels.numpy() for part in held_out)),
            "observed_labels": fingerprint(observed),
        },
        groups=shot_groups(config.dataset.source, basis_counts, rank_counts),
    )


def _to_tensor(images: np.ndarray) -> Tensor:
    # a copy: arrays read straight from a file are not writable, which Torch warns about
    return torch.from_numpy((images.transpose(0, 3, 1, 2) if images.ndim == 4 else images).copy())


def _evaluation_set(images: np.ndarray, labels: np.ndarray) -> EvaluationSet:
    return EvaluationSet(_to_tensor(images), torch.from_numpy(labels))


def _transform(source: Source, dataset: DatasetConfig) -> Transform:
    mean, std = source.mean, source.std
    borrowed = dataset.normalise
    if borrowed is not None and borrowed != dataset.source:
        if borrowed not in NORMALISE:
            raise DataError(f"dataset.normalise={borrowed} has no fixed constants; use {', '.join(NORMALISE)} or null")
        mean, std = NORMALISE[borrowed]
        channels = source.train_images.shape[-1]
        if len(mean) != channels:
            raise DataError(
                f"dataset.normalise={borrowed} has constants for {len(mean)} channels, the images of "
                f"{dataset.name} have {channels}; leave dataset.normalise out"
            )
    return Transform(mean, std, source.padding, source.flip, source.jitter)
