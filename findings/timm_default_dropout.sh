#!/usr/bin/env bash
# timm 1.0.31: a few of its models drop paths or features though nobody asked for it.
#
# Guess before it was run: `create_model(NAME)` without drop_rate and drop_path_rate builds a network without stochastic
# parts, as the training recipes of the papers are options of timm's training script.
# Seen: so it is with resnet, convnext, vit, regnety, densenet and maxvit; but swin and focalnet drop paths up to 0.1,
# nest up to 0.5, and rexnet drops 0.2 of the features. In training mode these draw from the global generator, two
# backbones compared "by the same recipe" are regularised differently, and no option that was set says so.
# sfa-bench sets all of them to 0 (docs/guides/models.md).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import timm
import torch

SEEN = {
    "resnet18": 0.0,
    "convnext_atto": 0.0,
    "vit_tiny_patch16_224": 0.0,
    "regnety_002": 0.0,
    "densenet121": 0.0,
    "maxvit_tiny_tf_224": 0.0,
    "swin_tiny_patch4_window7_224": 0.1,
    "focalnet_tiny_srf": 0.1,
    "nest_tiny": 0.5,
    "rexnet_100": 0.2,
}
assert timm.__version__ == "1.0.31"
for name, seen in SEEN.items():
    model = timm.create_model(name, pretrained=False)
    drawn = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    drawn += [float(m.drop_prob or 0) for m in model.modules() if hasattr(m, "drop_prob")]
    print("timm", timm.__version__, name, "drops at most", max(drawn, default=0.0))
    assert abs(max(drawn, default=0.0) - seen) < 1e-6, name
PY
