"""Files that stand for images: readers look at them, but never into them."""

from sfa_bench.choices.sources import DatasetConfig
from sfa_bench.data import sources

SIZES = {"webvision": (320, 299, "resized"), "clothing1m": (256, 224, "plain")}


def options(source, **values):
    resize, crop, random_crop = SIZES.get(source, (256, 224, "resized"))
    return DatasetConfig(name=source, source=source, resize=resize, crop=crop, random_crop=random_crop, **values)


def load(source, data_dir, **values):
    return sources.load(options(source, **values), str(data_dir))


def touch(root, *names):
    """Files whose sizes are 1, 2, 3… in the order of their names here."""
    for size, name in enumerate(names, 1):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def names(images):
    return [name.decode() for name in images.names.tolist()]
