"""Pretrained weights from a user's file (explanation/rules.md §5: nothing in it can
execute).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfa_bench import archives
from sfa_bench.errors import ConfigError


def load_into(module: nn.Module, path: str, whose: str, *, last: str | tuple[str, ...]) -> None:
    """Copy every weight of a state dict's file into `module`, which has no last layer of its own.

    Args: path of a Torch file (.pth, .pt, .bin) or a .safetensors file; whose: the network that it must belong to, for
    messages; last: prefix of the names of the file's last layer, which is left out (it has other classes).
    Raises: ConfigError when it cannot be read or any other weight does not fit; nothing in the file is executed.
    """
    weights = {name: value for name, value in _read(path).items() if not name.startswith(last)}
    state = module.state_dict()
    # Files from before Torch 0.4.1 have no counters; what they count is of no use here.
    missing = [name for name in state if name not in weights and not name.endswith("num_batches_tracked")]
    strange = [name for name in weights if name not in state]
    shapes = [name for name, value in state.items() if name in weights and weights[name].shape != value.shape]
    for names, what in ((missing, "it has no"), (strange, "it has a strange"), (shapes, "another shape has its")):
        if names:
            raise ConfigError(
                f"model.pretrained={path} does not hold the weights of {whose}: {what} {names[0][:80]!r}"
                f"{f' (and {len(names) - 1} more)' if len(names) > 1 else ''}; give a file of that network, or "
                "model.pretrained=false"
            )
    try:
        module.load_state_dict({**state, **weights})
    except (RuntimeError, NotImplementedError) as error:
        raise ConfigError(
            f"model.pretrained={path} holds tensors that are not plain numbers; give a file of {whose} as it is "
            "published, or model.pretrained=false"
        ) from error


def _read(path: str) -> Mapping[str, Tensor]:
    content = _content(Path(path))
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and type(value) in (Tensor, nn.Parameter) and not value.is_meta
        for name, value in content.items()
    ):
        raise ConfigError(
            f"model.pretrained={path} holds no state dict (names with tensors); save network.state_dict(), or set "
            "model.pretrained=false"
        )
    return content


def _content(path: Path) -> Any:
    key = f"model.pretrained={path}"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with open(path, "rb") as file:
            archives.refuse_compressed(file, path)
            return torch.load(file, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{key}: cannot be read ({error.strerror or type(error).__name__})") from error
    except pickle.UnpicklingError as error:
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ConfigError(
                f"{key} is refused: it asks for {asked[1]}, which a file of weights never does; nothing of it was run"
            ) from None
        raise ConfigError(f"{key} is refused: it is damaged or no file of weights; nothing of it was run") from None
    except Exception as error:  # a torn archive or pickle may raise anything
        raise ConfigError(f"{key} is truncated or not a file of weights ({type(error).__name__})") from error
