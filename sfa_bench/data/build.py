"""From a configuration to the data of one run: source → long tail → noise → validation split (algorithms/data.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sfa_bench import memory
from sfa_bench.choices.noises import NOISES
from sfa_bench.choices.sources import SOURCES, STATISTICS
from sfa_bench.config import external
from sfa_bench.data import cache, imbalance, instance, sources, validation
from sfa_bench.data.bayes import bounds
from sfa_bench.data.groups import shot_groups
from sfa_bench.data.images import ImageFiles
from sfa_bench.data.legacy import LegacyGenerators
from sfa_bench.data.loader import loader_for
from sfa_bench.data.noise import corrupt, noise_law, transition_matrix
from sfa_bench.data.sources import human
from sfa_bench.data.types import Data, EvaluationSet, Images, LearnerView, Source, Transform
from sfa_bench.errors import ConfigError, DataError, RunError
from sfa_bench.store.claim import Holder
from sfa_bench.store.fingerprint import fingerprint
from sfa_bench.streams import numpy_generator

if TYPE_CHECKING:
    from sfa_bench.choices.sources import DatasetConfig
    from sfa_bench.config.schema import RunConfig


def build(
    config: RunConfig,
    *,
    say: Callable[[str], None] = lambda sentence: None,
    on_step: Callable[[], None] = lambda: None,
    wait: Callable[[Holder], None] | None = None,
) -> Data:
    """The data of one run. Subset, noise and split depend on `data_seed` alone, so that methods share their labels.

    Args: for work on image files, which may take long: say takes a message for the user, on_step may raise to stop,
    wait is called while another process does the same work.
    Raises: DataError (or ConfigError) with a sentence before anything is trained.
    """
    dataset, seed = config.dataset, config.data_seed
    source, given_by_people = _load(config)
    if not config.eval.test:
        source = _without_test(source)
    if isinstance(source.train_images, ImageFiles):
        source = _look_at_files(config, source, say, on_step, wait)
    clean, given = _labels(source, noisy=config.noise.name != "none")
    basis = given if clean is None else clean
    num_classes = source.num_classes

    held = np.zeros(len(basis), dtype=bool)
    available = np.bincount(basis, minlength=num_classes)
    if dataset.val == "clean_balanced":
        if clean is None:
            raise DataError(
                "dataset.val=clean_balanced needs clean labels (y_train_clean of arrays, clean_label of csv); use "
                "dataset.val=noisy"
            )
        assert dataset.val_fraction is not None
        quota = validation.balanced_quota(dataset.val_fraction, available)
        held = validation.hold_out(clean, quota, numpy_generator(seed, "validation"))
        available = available - quota

    counts = imbalance.class_counts(
        config.imbalance.name, config.imb_factor, len(basis), available, by_rank=source.by_rank
    )
    remaining = np.where(held, -1, basis)
    law = None
    described = NOISES[config.noise.name]
    if described.source == "law":
        targets = numpy_generator(seed, "noise_targets")
        law = noise_law(config.noise, config.noise_ratio, counts, targets, source.class_maps)
    if dataset.generator == "legacy":
        assert law is not None  # else validate has refused it
        legacy = LegacyGenerators(seed)
        index = legacy.take(remaining, counts)
        observed = legacy.corrupt(given[index], law, symmetric=described.legacy == "uniform")
    else:
        index = imbalance.take(remaining, counts, numpy_generator(seed, "subset"))
        if given_by_people is not None:
            observed = given_by_people[index]
        elif config.noise.target is not None:
            observed = _own_noise(config, given[index], num_classes, source.train_images, index)
        elif law is not None:
            observed = corrupt(given[index], law, numpy_generator(seed, "noise"))
        else:
            shown = _features(source, index, on_step)
            width = int(np.prod(source.train_images.shape[1:]))
            observed = instance.corrupt(shown, width, given[index], num_classes, config.noise_ratio, seed)

    fold = fold_index = None
    if dataset.fold is not None:  # before a noisy validation set is drawn, so that folds do not depend on it
        i, k = map(int, dataset.fold.split("/"))
        out = validation.fold(observed, i, k, numpy_generator(seed, "fold"))
        fold, fold_index = _evaluation_set(source.train_images[index[out]], observed[out]), index[out]
        index, observed = index[~out], observed[~out]

    val = None
    if dataset.val == "none" and source.val_images is not None:
        assert source.val_labels is not None
        val = _evaluation_set(source.val_images, source.val_labels)
    elif dataset.val == "clean_balanced":
        val = _evaluation_set(source.train_images[held], basis[held])
    elif dataset.val == "noisy":
        assert dataset.val_fraction is not None
        quota = validation.noisy_quota(dataset.val_fraction, np.bincount(observed, minlength=num_classes))
        held = validation.hold_out(observed, quota, numpy_generator(seed, "validation"))
        val = _evaluation_set(source.train_images[index[held]], observed[held])
        index, observed = index[~held], observed[~held]

    places = index if source.original is None else source.original[index]
    if source.original is not None and fold_index is not None:
        fold_index = source.original[fold_index]
    embeddings = source.class_embeddings
    view = LearnerView(
        _images(source.train_images[index]),
        torch.from_numpy(observed),
        num_classes,
        _transform(source, dataset),
        None if embeddings is None else torch.from_numpy(embeddings),
    )
    test = _evaluation_set(source.test_images, source.test_labels)
    more = {name: _evaluation_set(*part) for name, part in source.more_tests.items()}
    data = _describe(config, view, places, None if clean is None else clean[index], test, val, fold, more)
    data = replace(
        data,
        fold_index=fold_index,
        size=len(source.train_labels) if source.original is None else int(source.original.max()) + 1,
        skipped=source.skipped,
        own_val=val is not None and dataset.val == "none",
        left_out=source.left_out,
        class_names=source.class_names,
        notes=source.notes,
        drawn_with=source.drawn_with,
    )
    if source.log_density is None or not config.eval.test:
        return data
    assert isinstance(view.images, Tensor)
    assert isinstance(test.images, Tensor)
    if config.noise.target is not None:
        return data  # the likelihood of its labels is unknown
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


def _own_noise(
    config: RunConfig, labels: np.ndarray, num_classes: int, images: np.ndarray | ImageFiles, index: np.ndarray
) -> np.ndarray:
    """Observed labels int64 [N] from the user's own function. Raises: DataError where it fails or returns anything
    else.
    """
    target, rng = str(config.noise.target), numpy_generator(config.data_seed, "noise")
    shown = images[index] if isinstance(images, np.ndarray) and images.dtype == np.uint8 else None
    try:
        noisy = external.load("noise", target)(
            labels.copy(), num_classes, config.noise_ratio, rng, shown, **config.noise.arguments
        )
    except (ConfigError, RunError):
        raise
    except Exception as error:  # a user's own code may fail in any way
        raise DataError(f"{target} failed: {external.describe_error(error)}") from error
    noisy = np.asarray(noisy)
    if noisy.shape != labels.shape or noisy.dtype.kind not in "iu" or not ((noisy >= 0) & (noisy < num_classes)).all():
        raise DataError(
            f"{target} must return the noisy labels, {len(labels)} whole numbers from 0 to {num_classes - 1}, not "
            f"{noisy.dtype} {list(noisy.shape)}"
        )
    return noisy.astype(np.int64)


def _load(config: RunConfig) -> tuple[Source, np.ndarray | None]:
    """The data set and, with noise=human, the human annotations of all of its training images."""
    dataset = config.dataset
    if NOISES[config.noise.name].source != "annotations":
        return sources.load(dataset, config.data_dir, config.data_seed), None
    # The annotations first: where they are missing, do not fetch the images.
    path = human.find(sources.existing(config.data_dir), SOURCES[dataset.source].human)
    source = sources.load(dataset, config.data_dir, config.data_seed)
    return source, human.load(path, str(config.noise.labels), source.train_labels, source.num_classes)


def _features(source: Source, index: np.ndarray, on_step: Callable[[], None]) -> Callable[[np.ndarray], np.ndarray]:
    """Positions in the subset → their flattened test views, float64 [n, D].

    Normalised by the data set's own mean and std, so that labels do not depend on `dataset.normalise`, which is for
    networks.
    """
    transform = Transform(source.mean, source.std)

    def features(positions: np.ndarray) -> np.ndarray:
        images = _images(source.train_images[index[positions]])
        views = []
        try:
            for view in loader_for(images, transform).test_views(torch.arange(len(images)).split(64)):
                on_step()
                views.append(view.flatten(1).double())
        except RunError as error:  # a file that cannot be decoded
            raise DataError(str(error)) from None
        return torch.cat(views).numpy()

    return features


def _without_test(source: Source) -> Source:
    """The source with no test sample: whatever its test images and labels are, nothing sees them."""
    none = np.zeros(0, dtype=np.int64)
    images, labels = source.train_images[none], source.train_labels[none]
    return replace(source, test_images=images, test_labels=labels, more_tests={})


def _labels(source: Source, noisy: bool) -> tuple[np.ndarray | None, np.ndarray]:
    """Clean labels (None: unknown), and the labels to which noise is added, int64 [n] each."""
    given = source.train_labels
    if source.labels_are_clean:
        return given, given
    truth = source.clean_labels
    if not noisy:
        return truth, given
    if truth is not None and not np.array_equal(truth, given):
        raise DataError(
            f"the labels differ from the clean ones in {np.count_nonzero(truth != given)} places: they are noisy "
            "already; use noise=none, or leave the clean ones (y_train_clean of arrays, clean_label of csv) out to "
            "take these as clean"
        )
    return given, given


def _describe(
    config: RunConfig,
    view: LearnerView,
    index: np.ndarray,
    clean: np.ndarray | None,
    test: EvaluationSet,
    val: EvaluationSet | None,
    fold: EvaluationSet | None,
    more_tests: dict[str, EvaluationSet],
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
    by_observed = config.dataset.shots.basis == "observed"
    basis_counts = observed_counts if by_observed else rank_counts
    clean_labels = np.full(len(index), -1, dtype=np.int64) if clean is None else clean
    held_out = [part for part in (test, val, fold, *more_tests.values()) if part is not None]
    all_images = [view.images, *(part.images for part in held_out)]
    embeddings = {} if view.class_embeddings is None else {"class_embeddings": view.class_embeddings.numpy()}
    return Data(
        view=view,
        index=index,
        clean_labels=clean_labels,
        test=test,
        val=val,
        fold=fold,
        noise_rate=noise_rate,
        confusion=confusion,
        clean_counts=clean_counts,
        observed_counts=observed_counts,
        fingerprints={
            "images": fingerprint(*(array for images in all_images for array in _contents(images))),
            "clean_labels": fingerprint(clean_labels, *(part.labels.numpy() for part in held_out)),
            "observed_labels": fingerprint(observed),
            **{name: fingerprint(array) for name, array in embeddings.items()},
        },
        groups=shot_groups(config.dataset.source, basis_counts, rank_counts, observed=by_observed),
        more_tests=more_tests,
    )


def _look_at_files(
    config: RunConfig,
    source: Source,
    say: Callable[[str], None],
    on_step: Callable[[], None],
    wait: Callable[[Holder], None] | None,
) -> Source:
    """The source without unreadable images, the others decoded on disk where the configuration says so.

    Raises: DataError for images that cannot be read, unless `dataset.on_bad_image=skip`.
    """
    dataset, folder = config.dataset, Path(config.data_dir).expanduser()
    beside = folder if folder.is_dir() else folder.parent
    memory.require(
        12 * dataset.resize**2,  # float32 of a square one
        f"an image scaled to dataset.resize={dataset.resize} pixels",
        "set a smaller dataset.resize and dataset.crop",
    )
    making = cache.Making(
        cache.folder_in(Path(dataset.cache_dir), beside) if dataset.cache_dir else beside / cache.FOLDER,
        dataset.cache,
        torch.get_num_threads() if dataset.workers is None else dataset.workers,
        say,
        on_step,
        wait,
    )
    skip, skipped = dataset.on_bad_image == "skip", list(source.skipped)

    def looked_at(part: str, images: Any) -> tuple[ImageFiles, np.ndarray]:
        """The images that can be used, and the mask [N] of these."""
        images, bad = cache.prepare(replace(images, workers=dataset.workers), part, making, look_at_all=skip)
        if bad and not skip:
            first = ", ".join(f"{os.fsdecode(images.names[i])} ({bad[i]})" for i in list(bad)[:3])
            raise DataError(
                f"{len(bad)} of {len(images)} {part} images cannot be read, first {first}: fetch them again, or leave "
                "such images out with dataset.on_bad_image=skip"
            )
        if bad:
            say(f"{len(bad)} of {len(images)} {part} images cannot be read and are left out; the record lists them")
        skipped.extend(f"{part}: {os.fsdecode(images.names[i])}" for i in bad)
        good = ~np.isin(np.arange(len(images)), list(bad))
        if not good.any():
            raise DataError(f"none of the {len(images)} {part} images can be read: check that they are image files")
        return images[good], good

    train, good = looked_at("train", source.train_images)
    test, good_test = looked_at("test", source.test_images) if config.eval.test else (source.test_images, slice(None))
    source = replace(
        source,
        train_images=train,
        train_labels=source.train_labels[good],
        original=(np.arange(len(good)) if source.original is None else source.original)[good],
        clean_labels=None if source.clean_labels is None else source.clean_labels[good],
        test_images=test,
        test_labels=source.test_labels[good_test],
    )
    if source.val_images is not None:
        assert source.val_labels is not None
        val, good = looked_at("val", source.val_images)
        source = replace(source, val_images=val, val_labels=source.val_labels[good])
    more = {}
    for name, (images, labels) in source.more_tests.items():
        images, good = looked_at(name, images)
        more[name] = images, labels[good]
    return replace(source, more_tests=more, skipped=tuple(skipped))


def _contents(images: Images) -> Iterable[np.ndarray]:
    """What the fingerprint of the images is computed over: their pixels, or the identity of their files."""
    return cache.identity(images) if isinstance(images, ImageFiles) else (images.numpy(),)


def _images(images: np.ndarray | ImageFiles) -> Images:
    return images if isinstance(images, ImageFiles) else _to_tensor(images)


def _to_tensor(images: np.ndarray) -> Tensor:
    # a copy: arrays read straight from a file are not writable, which Torch warns about
    return torch.from_numpy((images.transpose(0, 3, 1, 2) if images.ndim == 4 else images).copy())


def _evaluation_set(images: np.ndarray | ImageFiles, labels: np.ndarray) -> EvaluationSet:
    return EvaluationSet(_images(images), torch.from_numpy(labels))


def _transform(source: Source, dataset: DatasetConfig) -> Transform:
    mean, std = source.mean, source.std
    borrowed = dataset.normalise
    if borrowed is not None and borrowed != dataset.source:
        mean, std = STATISTICS[borrowed]
        channels = len(source.mean)
        if len(mean) != channels:
            raise DataError(
                f"dataset.normalise={borrowed} has constants for {len(mean)} channels, the images of "
                f"{dataset.name} have {channels}; leave dataset.normalise out"
            )
    return Transform(mean, std, source.padding, source.flip, source.jitter)
