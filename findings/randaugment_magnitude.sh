#!/usr/bin/env bash
# torchvision 0.29.1, timm 1.0.31: RandAugment of magnitude 9 is a third as strong in one as in the other.
#
# Guess before it was run: `RandAugment(num_ops=2, magnitude=9)` and "rand-m9-n2-inc1" turn, shear and colour images as
# much, since both name the paper's 9.
# Seen: torchvision's 9 is of 30 (turned by 9 degrees, sheared by 0.09, colours changed by 0.27), timm's is of 10 (27 degrees,
# 0.27, 0.81). A strong view that is described as "RandAugment, 2 and 9" is two augmentations.
# `num_magnitude_bins=11` gives torchvision's the scale of timm's for these three.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import random

import timm
import torchvision
from PIL import Image
from timm.data.auto_augment import AugmentOp
from torchvision.transforms import RandAugment

assert (torchvision.__version__.split("+")[0], timm.__version__) == ("0.29.1", "1.0.31")

class Seen(RandAugment):
    """torchvision's, with what it would do at its magnitude laid open."""

    def at_magnitude(self, name):
        space = self._augmentation_space(self.num_magnitude_bins, (32, 32))
        return round(float(space[name][0][self.magnitude]), 2)


NAMES = {"Rotate": "Rotate", "ShearX": "ShearX", "Color": "ColorIncreasing"}
image = Image.new("RGB", (32, 32))
of_torchvision = {name: Seen(2, 9).at_magnitude(name) for name in NAMES}
of_ten = {name: Seen(2, 9, num_magnitude_bins=11).at_magnitude(name) for name in NAMES}
random.seed(0)
of_timm = {}
for name, theirs in NAMES.items():
    operation = AugmentOp(theirs, prob=1.0, magnitude=9)
    (amount,) = operation.level_fn(9, {})
    of_timm[name] = round(abs(amount - (1 if name == "Color" else 0)), 2)
print("torchvision", of_torchvision, "with 11 bins", of_ten, "timm", of_timm)
assert of_torchvision == {"Rotate": 9.0, "ShearX": 0.09, "Color": 0.27}
assert of_timm == {"Rotate": 27.0, "ShearX": 0.27, "Color": 0.81}
assert of_ten == {"Rotate": 27.0, "ShearX": 0.27, "Color": 0.81}
PY
