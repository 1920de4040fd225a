"""Values that exist but do not go together (explanation/runs.md §3): refused with the way out."""

from __future__ import annotations

from pathlib import Path

from sfa_bench.choices import recipes
from sfa_bench.choices.classifiers import CLASSIFIERS
from sfa_bench.choices.code import load
from sfa_bench.choices.heads import MEDIUM, WITH
from sfa_bench.choices.losses import LOSSES, losses_of
from sfa_bench.choices.methods import LEARNERS, has_warmup, images_only, warmup_epochs
from sfa_bench.choices.models import names_of
from sfa_bench.choices.noises import NOISES, told_rate
from sfa_bench.choices.selectors import OPTIONS, SELECTORS
from sfa_bench.choices.sources import BUILT_IN, SOURCES, named
from sfa_bench.config.schema import RunConfig, replaced
from sfa_bench.config.values import number
from sfa_bench.errors import ConfigError


def _refuse(message: str) -> ConfigError:
    return ConfigError(message, invalid_combination=True)


def select(config: RunConfig, given: frozenset[str]) -> RunConfig:
    """The selector that acts: that of the plug-in, else that of the method."""
    brought = config.plugin.selector
    if brought == "none":
        return config
    if LEARNERS[config.method.learner].selects == "own":
        raise _refuse(
            f"plugin={config.names.get('plugin')} selects samples, which method={config.names.get('method')} does in "
            "its own way: add plugin=none, or plugin=abc for the balanced head alone"
        )
    if "method.selector.name" in given:
        raise _refuse(
            f"method.selector.name={config.method.selector.name} with plugin={config.names.get('plugin')}, which "
            "brings its own selector: set plugin=abc or plugin=none"
        )
    with_selector: RunConfig = replaced(config, "method.selector", name=brought)
    return with_selector


def validate(config: RunConfig, given: frozenset[str]) -> None:
    """Raise ConfigError (invalid_combination) on the first pair that makes no sense. `given`: the keys on the command
    line.
    """
    _method(config, given)
    _learner(config, given)
    _data(config, given)
    _model(config, given)
    for sentence in recipes.refuses(config):
        raise _refuse(sentence)
    if not config.eval.test and config.dataset.val == "none":
        raise _refuse("eval.test=false scores a validation set: set dataset.val=noisy or clean_balanced")
    if not config.eval.test and config.classifier.name != "joint":
        raise _refuse(
            f"eval.test=false with classifier={config.classifier.name}, which is scored on the test set alone"
        )


def _method(config: RunConfig, given: frozenset[str]) -> None:
    method, selector = config.names.get("method", ""), config.method.selector.name
    described = SELECTORS[selector]
    if method in described.not_with:
        raise _refuse(described.not_with[method])
    for sentence in described.refuses(config):
        raise _refuse(sentence)
    if LEARNERS[config.method.learner].selects == "must" and selector == "none":
        raise _refuse(f"method={method} needs a selector: leave method.selector.name out, or choose another one")
    for key in ("method.selector.no_clean_class", "plugin.gmm.min_samples"):
        if key in given and not described.by_class:
            raise _refuse(
                f"{key} acts on a mixture per class, which method.selector.name={selector} does not have: leave it "
                "out, or set method.selector.name=loss_gmm_cls or proto"
            )
    for key in OPTIONS:
        if f"method.selector.{key}" in given and key not in described.options:
            takers = " or ".join(name for name, other in SELECTORS.items() if key in other.options)
            raise _refuse(
                f"method.selector.{key}={getattr(config.method.selector, key)} has no meaning for the selector "
                f"{selector}: leave it out, or set plugin=none (or abc) with method.selector.name={takers}"
            )
    _heads(config)
    if config.plugin.head == "none":
        for key in sorted(given):
            if key.startswith("plugin.abc."):
                raise _refuse(f"{key} without the balanced head: set plugin.head=abc, or leave {key} out")
        if config.eval.ensemble == "abc":
            raise _refuse("eval.ensemble=abc without the balanced head: set plugin=abc, or eval.ensemble=main")
    if has_warmup(config) and config.warmup_epochs >= config.epochs:
        raise _refuse(
            f"warmup_epochs={config.warmup_epochs} leaves nothing of epochs={config.epochs}: raise epochs, or set "
            f"warmup_epochs below {config.epochs}"
        )
    if (every := config.record.probes) is not None:
        own = config.method.target is not None  # it may select in any epoch
        before = 0 if own else warmup_epochs(config)
        if config.epochs // every * every <= before:
            first = f", whose first selection is in epoch {before + 1}" if before else ""
            raise _refuse(
                f"record.probes={every} keeps nothing of epochs={config.epochs}{first}: set record.probes=1 for each "
                f"selection, or {config.epochs} for the last"
            )
    if isinstance(config.device, tuple) and config.method.networks != 2:
        raise _refuse(f"device=[{','.join(config.device)}] for method={method}, which has one network: set one device")


def _heads(config: RunConfig) -> None:
    """What not every learner trains: further heads, and labels of their own for heads."""
    method, plugin = config.names.get("method"), config.names.get("plugin")
    described, able = SELECTORS[config.method.selector.name], LEARNERS[config.method.learner].experts
    if described.gives_targets and not able:
        raise _refuse(
            f"plugin={plugin} gives each head labels of its own, which method={method} does not train on: set "
            "method=dividemix, or plugin=sfa"
        )
    if MEDIUM in WITH[config.plugin.head] and not able:
        raise _refuse(
            f"plugin.head={config.plugin.head} with method={method}, which does not train a medium head: set "
            "plugin.head=abc, or method=dividemix"
        )
    if described.gives_targets and config.dataset.selection_draw:
        raise _refuse(
            f"plugin={plugin} gives labels to the samples that a network selects from, and the other network trains "
            "on its own draw of samples: set dataset.selection_draw=0"
        )


def _learner(config: RunConfig, given: frozenset[str]) -> None:
    name, method, loss = config.names.get("method"), config.method, config.method.loss.name
    described, allowed, learner = LOSSES[loss], losses_of(method.learner), LEARNERS[method.learner]
    if allowed and loss not in allowed:
        if len(allowed) > 2 and described.own_method:
            raise _refuse(f"method.loss.name={loss} {described.own_method}")
        raise _refuse(f"method.loss.name={loss} with method={name}: it takes {' or '.join(allowed)}")
    for constant, (end, why) in described.below.items():
        if (value := getattr(method.loss, constant)) is not None and value >= end:
            key = f"method.loss.{constant}"
            raise _refuse(
                f"{key}={number(value)}: allowed is 0 <= {key} < {number(end)} with method={name}, which {why}"
            )
    for sentence in described.refuses(method.loss):
        raise _refuse(sentence)
    if described.remembers and method.mixup:
        raise _refuse(f"method.mixup=true with the loss {loss}, which {described.remembers}: set method.mixup=false")
    if described.once and method.schedule == "drs":
        raise _refuse(
            f"method.schedule=drs with the loss {loss}, which {described.remembers}: set method.schedule=drw or none"
        )
    if method.schedule == "drs" and not learner.resamples:
        raise _refuse(f"method.schedule=drs with method={name}: it resamples for single networks; set drw or none")
    if method.schedule != "none" and described.weighted:
        raise _refuse(
            f"method.schedule={method.schedule} with class weights from the first epoch: set method=ce_drw, or "
            "method.schedule=none"
        )
    for sentence in learner.refuses(config, given):
        raise _refuse(sentence)
    if told_rate(config) is None:
        for key in learner.needs_rate(config):
            raise _refuse(f"{key} needs the share of noisy labels, which is unknown here: set noise.assumed_rate=RATE")
    classifier = config.classifier.name
    if CLASSIFIERS[classifier].linear and described.cosine:
        raise _refuse(
            f"classifier={classifier} needs a linear classifier, and {loss}'s is a cosine: set classifier=crt"
        )
    if classifier != "joint" and config.keep_checkpoint == "none":
        raise _refuse(f"classifier={classifier} is fitted on a finished run's weights: leave keep_checkpoint=none out")
    if classifier != "joint" and config.eval.ensemble == "abc":
        raise _refuse(f"classifier={classifier} drops the balanced head: leave eval.ensemble=abc out")


def _data(config: RunConfig, given: frozenset[str]) -> None:
    data, noise, source = config.dataset, config.noise, SOURCES[config.dataset.source]
    described = NOISES[noise.name]
    if "map" in described.options and not source.class_maps:
        raise _refuse(
            f"noise={noise.name} has no class map for dataset={config.names.get('dataset')} (only "
            f"{', '.join(named('class_maps'))}): set noise=pair, noise=flip or noise=matrix"
        )
    if "map" in described.options and noise.map not in source.class_maps:
        made_for = " or ".join(name for name in named("class_maps") if noise.map in SOURCES[name].class_maps)
        raise _refuse(f"noise.map={noise.map} is made for dataset={made_for}, not {data.source}: set noise.map=default")
    if "labels" in described.options:
        _human_labels(config)
    if "file" in described.options and noise.file is None:
        raise ConfigError(f"noise={noise.name} needs noise.file=FILE, a row-stochastic KxK matrix (.npy or text)")
    if "file" in described.options and not Path(str(noise.file)).is_file():
        raise ConfigError(f"noise.file={noise.file}: there is no such file")
    if data.generator == "legacy":
        if described.legacy is None or noise.include_self:
            raise _refuse(
                f"dataset.generator=legacy knows noise=joint, symmetric (without include_self) and none, not "
                f"{noise.name}: set dataset.generator=project"
            )
        if noise.count not in ("auto", "exact"):
            raise _refuse(f"dataset.generator=legacy flips an exact number: leave noise.count={noise.count} out")
        if config.data_seed >= 2**32:  # what np.random.RandomState takes
            raise _refuse(
                f"data_seed={config.data_seed} with dataset.generator=legacy: allowed is 0 <= data_seed < 2^32; set a "
                "smaller one, or dataset.generator=project"
            )
    if data.val == "none" and data.val_fraction is not None:
        raise _refuse(
            f"dataset.val_fraction={number(data.val_fraction)} without a validation set: set "
            "dataset.val=noisy or clean_balanced"
        )
    if data.fold is not None:
        i, k = map(int, data.fold.split("/"))
        if not (1 <= i <= k and k >= 2):
            raise ConfigError(f"dataset.fold={data.fold}: set i/k with 2 <= k and 1 <= i <= k, such as 1/{max(k, 2)}")
    if source.own and data.name in BUILT_IN:
        raise _refuse(f"dataset.name={data.name} is the name of a built-in data set: give your data a name of its own")


def _model(config: RunConfig, given: frozenset[str]) -> None:
    model, source, described = config.model, SOURCES[config.dataset.source], config.model.described
    if described.unknown is not None and (why := load(described.unknown)(model.name)):
        raise ConfigError(why)
    if source.vectors and (why := images_only(config)):
        raise _refuse(why)
    if source.vectors and described.vectors is None:
        raise _refuse(
            f"{model.chosen} takes images, and dataset={config.dataset.source} has vectors: set "
            f"model={names_of('vectors')}"
        )
    side, needed = source.side, described.smallest
    if side is not None and side < needed:
        raise _refuse(
            f"{model.chosen} cannot take the {side}x{side} images of dataset={config.dataset.source}: set model=convnet"
        )
    if source.framing is not None:
        _image_files(config)
    if source.framing is not None and (crop := config.dataset.crop) < needed:
        raise _refuse(
            f"{model.chosen} cannot take images of dataset.crop={crop} pixels: set dataset.crop={needed} or more, "
            "or model=convnet"
        )
    if "model.width" in given and described.width is None:
        raise _refuse(f"model.width={model.width} with {model.chosen}, which has one width: leave model.width out")
    if model.pretrained is None:
        raise ConfigError(
            f"dataset={config.names.get('dataset')} starts from ImageNet weights, which are not downloaded: set "
            "model.pretrained=FILE (a .pth file of torchvision's ResNet-50), or model.pretrained=false to "
            "start from random weights"
        )
    if not model.pretrained:
        return
    if "pretrained" not in described.options:
        raise _refuse(
            f"model.pretrained={model.pretrained} with {model.chosen}, which starts from random weights: set "
            f"model={names_of('pretrained')}, or model.pretrained=false"
        )
    if not Path(model.pretrained).is_file():
        raise ConfigError(
            f"model.pretrained={model.pretrained}: there is no such file; give one, or set model.pretrained=false"
        )


def _image_files(config: RunConfig) -> None:
    data, name = config.dataset, config.names.get("method")
    if data.resize < data.crop:
        raise _refuse(
            f"dataset.resize={data.resize} leaves no square of dataset.crop={data.crop} pixels: set dataset.resize="
            f"{data.crop} or more"
        )
    if not (data.warmup_draw or data.selection_draw):
        return
    for draw in (data.warmup_draw, data.selection_draw):
        if 0 < draw < 2 * config.batch_size:
            raise _refuse(f"a draw of {draw} samples is less than one batch: set {2 * config.batch_size} or more, or 0")
    all_samples = "set dataset.warmup_draw=0 dataset.selection_draw=0 for all samples in every epoch"
    loss = LOSSES[config.method.loss.name]
    if why := LEARNERS[config.method.learner].every_sample or (loss.once and loss.remembers):
        raise _refuse(f"method={name} {why}: {all_samples}")
    if config.method.schedule == "drs":
        raise _refuse(f"method.schedule=drs resamples classes, and these draws are balanced already: {all_samples}")
    if config.record.probes is not None:
        raise _refuse(f"record.probes keeps selections among all samples: {all_samples}")


def _human_labels(config: RunConfig) -> None:
    data, labels, human = config.dataset, config.noise.labels, SOURCES[config.dataset.source].human
    if not data.human or human is None:
        raise _refuse(
            f"noise=human takes human annotations, and dataset={config.names.get('dataset')} has none: set "
            "dataset=cifar10n or dataset=cifar100n, or another noise"
        )
    if labels not in human.labels:
        raise _refuse(
            f"noise.labels={labels} does not exist for dataset={config.names.get('dataset')}: it has "
            f"{', '.join(human.labels)}"
        )
