#!/usr/bin/env bash
# torchvision 0.29.1, timm 1.0.31: mixup's partner in a batch is not drawn.
#
# Guess before it was run: both mix each image with one of a random permutation of the batch, as the paper's listing does.
# Seen: `v2.MixUp` and `v2.CutMix` of torchvision mix each image with the one before it in the batch, `Mixup` of timm the
# first with the last, the second with the last but one; only the weight is drawn. Where a sampler orders a batch (by class, large
# classes first, clean before noisy) the same kinds are always mixed, and a weight alone mixes an image with its neighbour.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import timm
import torch
import torchvision
from timm.data import Mixup
from torchvision.transforms import v2

assert (torchvision.__version__.split("+")[0], timm.__version__) == ("0.29.1", "1.0.31")
BATCH, EACH = 6, torch.arange(6)
images = torch.rand(BATCH, 3, 8, 8)


def partners(mix):
    """The other image in each row's target, over ten calls."""
    found = set()
    for _ in range(10):
        _, targets = mix(images.clone(), EACH)
        others = [[int(k) for k in row.nonzero().flatten() if int(k) != i] for i, row in enumerate(targets)]
        if all(len(other) == 1 for other in others):  # a cut may be empty
            found.add(tuple(k for (k,) in others))
    return found


torch.manual_seed(0)
seen = {
    "v2.MixUp": partners(v2.MixUp(alpha=1.0, num_classes=BATCH)),
    "v2.CutMix": partners(v2.CutMix(alpha=1.0, num_classes=BATCH)),
    "timm Mixup": partners(Mixup(mixup_alpha=1.0, num_classes=BATCH, label_smoothing=0.0)),
}
print("torchvision", torchvision.__version__, "timm", timm.__version__, seen)
before, mirrored = {(5, 0, 1, 2, 3, 4)}, {(5, 4, 3, 2, 1, 0)}
assert seen == {"v2.MixUp": before, "v2.CutMix": before, "timm Mixup": mirrored}
PY
