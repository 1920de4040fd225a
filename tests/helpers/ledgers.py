"""Runs folders with records that say what a test wants."""

import json

from sfa_bench.store.folder import RunFolder
from sfa_bench.store.ledger import run_path
from sfa_bench.store.record import new_record


class Ledger:
    """Writes finished runs with given metrics; a keyword with two underscores is a path (plugin__beta)."""

    def __init__(self, root):
        self.root = root
        self.count = 0

    def add(self, accuracy, *, method="dividemix", plugin="none", dataset="digits", replicate=0, state="done", **other):
        self.count += 1
        record_changes = {
            key: other.pop(key)
            for key in ("knows", "environment", "metrics", "labels", "cost", "selection")
            if key in other
        }
        config = dict.fromkeys(("replicate", "seed", "data_seed"), replicate)
        config |= {"noise_ratio": 0.4, "imb_factor": 0.1, "epochs": 60, "lr": 0.02}
        config |= {"threads": self.count, "device": "cpu", "runs_dir": "runs"}
        config |= {"dataset": {"name": dataset}, "model": {"name": "convnet"}}
        config |= {"method": {"revision": 1, "selector": {"name": "loss_gmm"}}, "plugin": {"revision": 1}}
        if plugin != "none":
            config["plugin"]["beta"] = 0.99
        for path, value in other.items():
            *parents, leaf = path.split("__")
            place = config
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = value
        names = {"dataset": dataset, "method": method, "plugin": plugin, "model": "auto"}
        names |= {k: config[k]["name"] for k in ("noise", "imbalance", "recipe") if isinstance(config.get(k), dict)}
        record = new_record(hash=f"{self.count:012x}", config=config, names=names, command="python run.py")
        labels = record_changes.pop("labels", f"{dataset}-{config['data_seed']}")
        record |= {"state": state, "data": {"fingerprints": {"observed_labels": labels}}}
        record["metrics"] = {"test/acc/final": accuracy, "test/acc/tail": None, "test/per_class": [accuracy] * 10}
        record["environment"] = {"precision": "fp32"}
        record |= record_changes
        folder = RunFolder(run_path(self.root, names, record["hash"]))
        folder.path.mkdir(parents=True)
        folder.write_record(record)
        return folder.path

    def read(self):
        """All records as a plain reader sees them."""
        return [json.loads(path.read_text()) for path in sorted(self.root.glob("*/*/*/run.json"))]
