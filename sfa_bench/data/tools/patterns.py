"""Generated images that a small network can classify: a shape and a colour for each class, under noise."""

from __future__ import annotations

import colorsys

import numpy as np

GOLDEN = 0.618034  # hues that are this far apart stay apart, however many there are
SHAPES = 5
NOISE = 20.0  # standard deviation, in steps of 256


def patterned_image(
    label: int, height: int, width: int, generator: np.random.Generator, channels: int = 3
) -> np.ndarray:
    """An image of one class: uint8 [height, width, channels].

    Shapes look the same in a mirror, since training views are flipped. Colour tells all classes apart; without colour
    only the first ten differ.
    """
    dy, dx = generator.uniform(-0.2, 0.2, 2)
    scale = generator.uniform(0.9, 1.2)
    v = (np.linspace(-1, 1, height)[:, None] - dy) / scale
    u = (np.linspace(-1, 1, width)[None, :] - dx) / scale
    mask = _shape(label % SHAPES, u, v)
    if channels == 1:
        dark, bright = np.array([40.0]), np.array([210.0])
        back, front = (dark, bright) if label // SHAPES % 2 == 0 else (bright, dark)
    else:
        front = 255 * np.array(colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.85, 0.95))
        back = np.full(3, generator.uniform(30, 90))
    noise = generator.standard_normal((height, width, channels), dtype=np.float32)
    pixels = np.where(mask[..., None], np.float32(front), np.float32(back)) + np.float32(NOISE) * noise
    return pixels.clip(0, 255).astype(np.uint8)


def _shape(kind: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Where the shape is, bool [height, width], on coordinates that reach from -1 to 1."""
    if kind == 0:
        return np.hypot(u, v) < 0.7
    if kind == 1:
        edge = np.maximum(np.abs(u), np.abs(v))
        return (edge > 0.4) & (edge < 0.8)
    if kind == 2:
        return np.broadcast_to(np.sin(3 * np.pi * v) > 0, (v.size, u.size))
    if kind == 3:
        return np.broadcast_to(np.cos(3 * np.pi * u) > 0, (v.size, u.size))
    return (np.sin(3 * np.pi * v) > 0) ^ (np.cos(3 * np.pi * u) > 0)
