#!/usr/bin/env bash
# timm 1.0.31: `num_features` is not the width of what a model with `num_classes=0` returns.
#
# Guess before it was run: with `num_classes=0` the forward pass returns [B, num_features], as for ResNets and ViTs.
# Seen: where a hidden layer stands between pooling and classifier it is kept, and the width is that of the attribute
# `head_hidden_size`: mobilenetv3_small_100 576 and 1,024, ghostnet_100 960 and 1,280, lcnet_050 256 and 1,280, vgg11 512
# and 4,096, efficientvit_b0 128 and 1,280. A classifier of one's own that is sized by `num_features` does not fit.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import timm
import torch

SEEN = {
    "resnet18": (512, 512),
    "vit_tiny_patch16_224": (192, 192),
    "mobilenetv3_small_100": (576, 1024),
    "ghostnet_100": (960, 1280),
    "lcnet_050": (256, 1280),
    "efficientvit_b0": (128, 1280),
    "vgg11": (512, 4096),
}
assert timm.__version__ == "1.0.31"
for name, seen in SEEN.items():
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    with torch.no_grad():
        width = model(torch.zeros(1, *model.default_cfg["input_size"])).shape[1]
    print(name, "num_features", model.num_features, "width", width, "head_hidden_size", model.head_hidden_size)
    assert (model.num_features, width) == seen
    assert model.head_hidden_size == width
PY
