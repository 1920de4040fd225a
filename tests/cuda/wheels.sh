#!/usr/bin/env bash
# Collects what `prove.sh` needs on a machine without a network, beside Torch, torchvision, NumPy, SciPy, scikit-learn,
# pandas, matplotlib, rich, timm and pytest, which are expected there: `wheels.sh FOLDER [PYTHON-VERSION]`.
# Runs where pip has its packages. The antlr runtime that Hydra asks for has no wheel: it is built, and holds no machine code.
set -euo pipefail
folder="${1:?usage: wheels.sh FOLDER [PYTHON-VERSION]}" version="${2:-3.12}"
mkdir -p "$folder"
take() {
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$folder" "$@"
}
take 'hydra-core>=1.3.2,<1.4' 'omegaconf>=2.3,<2.4' 'hydra-joblib-launcher>=1.2,<1.4' 'tabulate>=0.9' 'joblib>=1.3' \
  'cloudpickle>=3' 'rich>=13' 'markdown-it-py' 'mdurl' 'pygments' 'pandas>=2.2.2' 'threadpoolctl>=3.1' 'packaging' 'PyYAML'
python3 -m pip wheel -q --no-deps -w "$folder" 'antlr4-python3-runtime==4.9.3'
du -sh "$folder"
