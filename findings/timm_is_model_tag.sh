#!/usr/bin/env bash
# timm 1.0.31: `timm.is_model(NAME)` is true of names that no call accepts.
#
# Guess before it was run: a name is a model's if `create_model` takes it, so that `is_model("resnet18.foo")` is false.
# Seen: what stands after the dot is not looked at. It is true of any tag, and `create_model` and `get_pretrained_cfg`
# raise RuntimeError, also without weights. A configuration that is checked by `is_model` fails when the network is
# built. sfa-bench asks `get_pretrained_cfg`, too.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import timm

assert timm.__version__ == "1.0.31"
assert timm.is_model("resnet18.a1_in1k")
assert not timm.is_model("resnet1800")
assert timm.is_model("resnet18.foo")
for call in (timm.get_pretrained_cfg, lambda name: timm.create_model(name, pretrained=False)):
    try:
        call("resnet18.foo")
    except RuntimeError as error:
        print("timm", timm.__version__, "is_model: True,", "but:", error)
        assert "Invalid pretrained tag" in str(error)
    else:
        raise SystemExit("it was accepted")
PY
