"""A runs folder of any size, fast: one realistic run copied with changed values (python ledger_scale.py FOLDER N)."""

import itertools
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np

from sfa_bench.config.schema import SEED_KEYS
from sfa_bench.config.stored import from_stored
from sfa_bench.config.sweep_files import jobs_by_setting
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import KEYS, new_record, plain
from sfa_bench.sweep.settings import Settings

REPLICATES = 3
DATASETS = ("cifar10", "cifar100", "digits", "fashion_mnist", "svhn", "stl10")
METHODS = ("ce", "focal", "ldam", "gce", "sce", "elr", "coteaching", "dividemix", "rolt", "rolt_plus")
PLUGINS = ("none", "abc", "sfa", "sfa_release")
RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
FACTORS = (1.0, 0.5, 0.1, 0.05, 0.02, 0.01)
NOISES = ("joint", "symmetric", "asymmetric", "instance")
GROUPS = ("many", "medium", "few", "head", "mid", "tail")
SCORES = ("precision", "recall", "f1", "auc", "ap")
COUNTS = [500, 387, 299, 232, 179, 139, 107, 83, 64, 50]


def write(root, n, classes=10):
    """Write n finished runs in cells of three replicates; numbers are drawn, so that nothing compresses by luck."""
    settings = itertools.product(DATASETS, NOISES, RATIOS, FACTORS, METHODS, PLUGINS, range(REPLICATES))
    for number, (dataset, noise, ratio, factor, method, plugin, replicate) in enumerate(itertools.islice(settings, n)):
        generator = np.random.default_rng(number)
        identity = f"{generator.integers(16**12):012x}"
        names = {"dataset": dataset, "noise": noise, "imbalance": "exp", "method": method, "plugin": plugin}
        names |= {"classifier": "joint", "model": "auto", "recipe": "matched"}
        overrides = {"dataset": dataset, "noise": noise, "noise_ratio": ratio, "imb_factor": factor}
        overrides |= {"method": method, "plugin": plugin, "replicate": replicate}
        record = {"schema": 1, "state": "done", "hash": identity}
        record |= {"config": _config(number, replicate, ratio, factor, dataset, plugin), "names": names}
        record["command"] = "python run.py " + " ".join(f"{key}={value}" for key, value in overrides.items())
        record["data"] = _data(dataset, replicate, classes)
        rows = [_row(generator, epoch, classes) for epoch in range(1, 21 + number % 41)]
        last = rows[-1]
        record["metrics"] = {"test/acc/final": last["test/acc"], "test/acc/at_best_val": None}
        record["metrics"] |= {f"test/acc/{name}": 100 * generator.random() for name in ("last", "last10", "best")}
        record["metrics"] |= {key: value for key, value in last.items() if key.startswith("test/")}
        record |= {"selection": last["selection"], "knows": ["rate"] if method == "coteaching" else []}
        record |= {"cost": _cost(generator), "environment": _environment(), "error": None}
        folder = Path(root, dataset, f"{method}+{plugin}", identity)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(record, indent=1) + "\n")
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_planned(words):
    """Write a finished run for every job of a sweep, under the hash that it would have.

    What runs have in common is serialised once: the records are those that `dumps` would write.
    """
    settings, known, environment = Settings(None), {}, _text(_environment())
    data_text = cache(lambda name, replicate: _text(_data(name, replicate, 10)))
    for number, (key, job) in enumerate(jobs_by_setting(words, None)):
        setting = settings.of(job, key)
        seeds = setting.seeds(job)
        identity = setting.run(seeds)
        if key is None or setting not in known:
            config = from_stored(json.loads(setting.stored(seeds)))
            common = {key: value for key, value in config.to_plain().items() if key not in SEED_KEYS}
            known = {} if key is None else known
            known[setting] = config, _text(common)
        config, common = known[setting]
        seeds = seeds or [getattr(config, key) for key in SEED_KEYS]
        names, generator = config.recorded_names, np.random.default_rng(number)
        row = _row(generator, config.epochs, 10)
        command = "python run.py " + " ".join(one.text for one in job)
        record = new_record(hash=identity, config={}, names=names, command=command)
        metrics = {"test/acc/final": row["test/acc"], **{k: v for k, v in row.items() if k.startswith("test/")}}
        record |= {"state": "done", "metrics": metrics, "selection": row["selection"], "cost": _cost(generator)}
        of_seeds = "".join(f'\n  "{key}": {seed},' for key, seed in zip(SEED_KEYS, seeds, strict=True))
        texts = {"config": f"{{{of_seeds}{common[1:]}", "data": data_text(config.dataset.name, seeds[0])}
        texts = {key: _text(record[key]) for key in KEYS} | texts | {"environment": environment}
        folder = run_path(config.runs_dir, names, identity)
        folder.mkdir(parents=True, exist_ok=True)
        entries = ",\n".join(f' "{key}": {texts[key]}' for key in KEYS)
        (folder / "run.json").write_text(f"{{\n{entries}\n}}\n", encoding="utf-8")
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def _text(value):
    """A value of a record as `dumps` writes it; it holds no line breaks."""
    return json.dumps(plain(value), allow_nan=False, indent=1, ensure_ascii=False).replace("\n", "\n ")


def _row(generator, epoch, classes):
    numbers = iter(generator.random(80 + classes))
    row = {"epoch": epoch, "phase": "warm-up" if epoch < 4 else "training", "loss": 4 * next(numbers), "lr": 0.02}
    row |= {"test/acc": 100 * next(numbers)}
    row |= {f"test/acc/{group}": 100 * next(numbers) for group in (*GROUPS, "worst", "gmean", "main", "abc")}
    row |= {"test/macro_f1": 100 * next(numbers), "test/per_class": [100 * next(numbers) for _ in range(classes)]}
    row |= {"test/ece": 10 * next(numbers), "selection": None, "seconds": round(next(numbers), 3)}
    if epoch >= 4:
        selection = {score: next(numbers) for score in SCORES}
        selection |= {f"{score}/{group}": next(numbers) for group in GROUPS for score in SCORES}
        selection |= {"auc_score": next(numbers), "counts": [float(int(9 * c * next(numbers)) // 9) for c in COUNTS]}
        selection |= {"imbalance_ratio": 8 * next(numbers), "tv_to_clean_prior": next(numbers)}
        selection |= {"pseudo_label_acc": next(numbers), "memorised": next(numbers), "agreement": None}
        row["selection"] = selection | {"classes_drawn": 10.0, "inverted": 0.0, "fallbacks": {}}
    return row


def _config(number, replicate, ratio, factor, dataset, plugin):
    config = {**dict.fromkeys(("replicate", "seed", "data_seed"), replicate), "noise_ratio": ratio}
    config |= {"imb_factor": factor, "epochs": 60, "warmup_epochs": 9, "batch_size": 64, "lr": 0.02, "threads": 1}
    config |= {"device": "auto", "precision": "fp32", "data_dir": "data", "runs_dir": "runs"}
    config |= {"eval": {"every": 1, "ensemble": "logit_sum", "batch_size": 256}, "record": {"probes": 1}}
    config |= {"dataset": {"name": dataset, "source": dataset, "shots": {"basis": "clean"}, "classes": 10}}
    config |= {"noise": {"name": "joint", "count": "auto", "include_self": False, "revision": 1}}
    config |= {"method": {f"option_{i}": i / 7 for i in range(40)} | {"revision": 1}, "model": {"name": "convnet"}}
    config |= {"plugin": {f"option_{i}": i / 9 for i in range(20)} | {"beta": 0.99 if plugin == "sfa" else 0.9}}
    return config | {"recipe": {"name": "matched", "effective": {"beta": 0.9 + 1 / 30, "ramp_epochs": 4.8}}}


def _data(dataset, replicate, classes):
    prints = {name: f"{len(dataset) * 100 + len(name) * 10 + replicate:016x}" for name in ("images", "clean_labels")}
    prints["observed_labels"] = f"{len(dataset) * 1000 + replicate:016x}"
    counts = (COUNTS * (1 + classes // 10))[:classes]
    data = {"name": dataset, "fingerprints": prints, "samples": {"train": sum(counts), "test": 1000, "val": 0}}
    data |= {"clean_counts": counts, "observed_counts": [c - c // 9 for c in counts], "noise_rate": 0.4}
    data["confusion"] = [[i * j for j in range(10)] for i in range(10)]
    return data | {"groups": {"many": [0, 1, 2], "medium": [3, 4, 5, 6], "few": [7, 8, 9]}}


def _cost(generator):
    seconds = dict(
        zip(("data", "warm-up", "training", "evaluation"), generator.random(4).round(3).tolist(), strict=True)
    )
    return {
        "seconds": seconds,
        "total_seconds": round(sum(seconds.values()), 3),
        "steps": 960,
        "samples": {"trained": 122400, "guessed": 0, "selected": 104040},
        "flops": 5041377280,
        "parameters": 4948,
        "images_per_second": round(1e5 * generator.random(), 1),
        "peak_memory": {"host": int(8e8 + 1e7 * generator.random())},
    }


def _environment():
    versions = {"python": "3.11.7", "torch": "2.6.0", "numpy": "2.1.0", "sfa_bench": "0.1.0"}
    plain = {"versions": versions, "commit": "1f7ed69247fa992d21246d0bc6df89ae92b33881", "modified": False}
    plain |= {"platform": "Linux", "host": "vm", "device": ["cpu"], "device_name": "x86_64", "threads": 1}
    return plain | {"precision": "fp32", "own_code": {}}


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
