"""Files like CIFAR-N's, in the structure of the official ones: a zip-format Torch file with a dict of int64 arrays."""

import zipfile

import numpy as np
import torch

TEN = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")
SHARES = dict(zip(TEN, (0.09, 0.17, 0.18, 0.18, 0.4), strict=True))


def labels_for(clean, num_classes=10):
    """What people might have said of images with these clean labels: the keys of the file of 10, or of 100 classes."""
    rng = np.random.default_rng(5)
    clean = np.asarray(clean, dtype=np.int64)

    def wrong(labels, share, classes):
        others = (labels + rng.integers(1, classes, len(labels))) % classes
        return np.where(rng.random(len(labels)) < share, others, labels)

    if num_classes == 10:
        return {"clean_label": clean} | {key: wrong(clean, share, 10) for key, share in SHARES.items()}
    coarse = clean // 5
    lists = {"clean_coarse_label": coarse.tolist(), "noisy_coarse_label": wrong(coarse, 0.26, 20).tolist()}
    return {"clean_label": clean, "noisy_label": wrong(clean, 0.4, 100), **lists}


def write(path, content, numpy_module=None):
    """Save with Torch. numpy_module: what the arrays call NumPy's module; NumPy 1 and 2 write different names."""
    torch.save(content, path)
    if numpy_module is None:
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            if name.endswith("data.pkl"):
                assert b"core.multiarray\n_reconstruct\n" in part
                for other in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
                    part = part.replace(b"c" + other + b"\n", b"c" + numpy_module.encode() + b"\n")
            archive.writestr(name, part)
