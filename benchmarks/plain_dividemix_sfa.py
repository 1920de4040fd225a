"""DivideMix with SFA in one file, the way published releases are written: read it from top to bottom.

    python benchmarks/plain_dividemix_sfa.py                    # scikit-learn's digits, a long tail, 40 % noisy labels
    python benchmarks/plain_dividemix_sfa.py random --epochs 3  # random images of CIFAR's shape, for the time it takes
    python benchmarks/plain_dividemix_sfa.py FOLDER             # with train.npz, test.npz and settings.json

DivideMix (Li et al., ICLR 2020) trains two networks. After a warm-up on all labels, each network divides the training
set for the other one into samples whose label it trusts and samples whose label is thrown away, and MixMatch trains on
both. SFA (IJCAI 2023) makes this work on a long tail: it divides by the distance to a centroid of the class that is
drawn from running averages of the features, and adds a head that is trained with a balanced softmax.

Nothing of sfa_bench is used here. Tests hold this file to the same networks, losses, gradients and selections, and
`python -m benchmarks.speed` measures how many times as fast the suite is. So its slow parts must stay as they are: PIL
transforms in a `DataLoader`, images read again for every pass, loops over single samples, `.item()` in every step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from joblib import cpu_count
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

ALPHA = 4.0  # MixUp's weight is drawn from Beta(ALPHA, ALPHA)
TEMPERATURE = 0.5  # of the sharpened targets
LAMBDA_U = 25.0  # weight of the loss of unlabelled samples
RAMP_EPOCHS = 16  # over which that weight grows from 0
BETA = 0.99  # decay of SFA's running averages
PHI = 1.005  # base of SFA's gate of confident samples, which rises with the epochs


# ---------------------------------------------------------------------------------------------------------- networks


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x).relu()
        y = self.conv1(x)
        y = self.conv2(self.norm2(y).relu())
        return y + (x if self.shortcut is None else self.shortcut(x))


class PreActResNet(nn.Module):
    """PreAct ResNet-18; `width` is 64 in the papers."""

    def __init__(self, width: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        sizes = [width * n for n in (1, 1, 1, 2, 2, 4, 4, 8, 8)]
        strides = (1, 1, 2, 1, 2, 1, 2, 1)
        self.blocks = nn.Sequential(*(Block(sizes[i], sizes[i + 1], strides[i]) for i in range(8)))

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(self.blocks(self.stem(images)), 4).flatten(1)


class ConvNet(nn.Module):
    """For images below 16 pixels."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        units = [self._unit(before, after) for before, after in ((channels, width), (width, 2 * width))]
        self.layers = nn.Sequential(
            *(layer for unit in units for layer in (*unit, nn.MaxPool2d(2))), *self._unit(2 * width, 2 * width)
        )

    @staticmethod
    def _unit(before: int, after: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.layers(images), 1).flatten(1)


class Network(nn.Module):
    """Images [B, C, H, W] → features [B, d], logits of the main head, and of the balanced head or None.

    The parameters have the suite's names, so that the tests can copy its weights.
    """

    def __init__(self, backbone: nn.Module, features: int, num_classes: int, balanced: bool):
        super().__init__()
        self.backbone = backbone
        self.main = nn.Linear(features, num_classes)
        self.abc = nn.Linear(features, num_classes) if balanced else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        features = self.backbone(images)
        return features, self.main(features), None if self.abc is None else self.abc(features)


def preact_resnet(width: int, num_classes: int, balanced: bool) -> Network:
    return Network(PreActResNet(width), 8 * width, num_classes, balanced)


def convnet(channels: int, width: int, num_classes: int, balanced: bool) -> Network:
    return Network(ConvNet(channels, width), 2 * width, num_classes, balanced)


# ------------------------------------------------------------------------------------------------- images, their views


@dataclass(frozen=True)
class Augmentation:
    """mean, std: of each channel, of pixels in [0, 1]; padding: of the random crops, in pixels; flip: half of them."""

    mean: Sequence[float]
    std: Sequence[float]
    padding: int = 4
    flip: bool = True


def save(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """images: uint8 [N, H, W, C]; labels: int64 [N], the observed ones."""
    np.savez(path, images=images, labels=labels)
    return path


class ImageDataset(Dataset[Any]):
    """Each item: `views` augmented views of an image (0: its test view), its label, its row, its clean probability."""

    def __init__(
        self,
        path: Path,
        augmentation: Augmentation,
        views: int,
        rows: np.ndarray | None = None,
        clean_probability: np.ndarray | None = None,
    ):
        with np.load(path) as arrays:
            self.images, self.labels = arrays["images"], arrays["labels"]
        self.rows = np.arange(len(self.labels)) if rows is None else rows
        self.clean_probability = clean_probability
        self.views = views
        drawn = [transforms.RandomCrop(self.images.shape[1], augmentation.padding)]
        drawn += [transforms.RandomHorizontalFlip()] if augmentation.flip else []
        to_input = [transforms.ToTensor(), transforms.Normalize(augmentation.mean, augmentation.std)]
        self.transform = transforms.Compose([*(drawn if views else []), *to_input])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        row = int(self.rows[i])
        image = Image.fromarray(self.images[row].squeeze())  # PIL wants [H, W] of a single channel
        views = tuple(self.transform(image) for _ in range(max(1, self.views)))
        probability = 1.0 if self.clean_probability is None else float(self.clean_probability[row])
        return *views, int(self.labels[row]), row, probability


def batches(dataset: ImageDataset, batch_size: int) -> DataLoader[Any]:
    """Batches in random order, of test views in order; the last one may be smaller. A worker for each core."""
    # A process that was spawned would spawn its workers, each of which imports Torch first: no release starts them so.
    return DataLoader(
        dataset, batch_size, shuffle=dataset.views > 0, num_workers=cpu_count(), multiprocessing_context="fork"
    )


# ----------------------------------------------------------------------------------------------- who is clean: mixtures


def clean_by_loss(losses: Tensor) -> np.ndarray:
    """DivideMix's own selection: clean probability [N] by one mixture of the losses of all samples."""
    scaled = (losses - losses.min()) / (losses.max() - losses.min())
    values = scaled.double().reshape(-1, 1).numpy()
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    return _posterior(values, mixture, larger=False)


def clean_by_class(scores: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Clean probability [N] by a mixture for each observed class; scores [N] are the larger, the cleaner."""
    probability = np.ones(len(scores))
    for c in range(num_classes):
        members = np.flatnonzero(labels == c)
        values = np.array([scores[i] for i in members])
        if len(members) < 2 or np.ptp(values) <= 1e-12 * np.abs(values).max():
            continue  # nothing to tell apart: all are taken for clean
        values = ((values - values.min()) / (values.max() - values.min())).reshape(-1, 1)
        posterior = _posterior(values, GaussianMixture(2, random_state=0), larger=True)
        for place, i in enumerate(members):
            probability[i] = posterior[place]
    return probability


def _posterior(values: np.ndarray, mixture: GaussianMixture, larger: bool) -> np.ndarray:
    """Of the component with the larger (or smaller) mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values)
    clean = mixture.means_.argmax() if larger else mixture.means_.argmin()
    return mixture.predict_proba(values)[:, clean]


# --------------------------------------------------------------------------------- who is clean: SFA's drawn centroids


class FeatureAverages:
    """SFA's running mean and mean square of each class's features in one network.

    sample_min: a centroid is drawn only for classes with more confident samples than that; the others' is the mean.
    """

    def __init__(self, num_classes: int, sample_min: int, beta: float = BETA, phi: float = PHI):
        self.num_classes, self.sample_min, self.beta, self.phi = num_classes, sample_min, beta, phi
        self.mean: np.ndarray | None = None
        self.square: np.ndarray | None = None

    def select(
        self, features: Tensor, confidence: Tensor, labels: np.ndarray, epoch: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Clean probability [N] from features [N, d] and the confidence [N] in the observed labels."""
        features = features.double()
        features = features - features.mean(dim=0)
        features = F.normalize(features, dim=1)

        # This epoch's centroid of each class, of its confident samples only.
        confident = (confidence > self.phi**epoch / self.num_classes).numpy()
        centroids = np.zeros((self.num_classes, features.shape[1]))
        counts = np.zeros(self.num_classes, dtype=int)
        for c in range(self.num_classes):
            members = np.flatnonzero(confident & (labels == c))
            counts[c] = len(members)
            if len(members) == 0 and self.mean is None:
                members = np.flatnonzero(labels == c)
            if len(members):
                centroids[c] = torch.stack([features[i] for i in members]).mean(dim=0).numpy()

        # The running averages; a class without a confident sample keeps its own.
        if self.mean is None or self.square is None:
            self.mean, self.square = centroids, centroids**2
        else:
            new = np.where(counts > 0, 1 - self.beta, 0)[:, None]
            self.mean = (1 - new) * self.mean + new * centroids
            self.square = (1 - new) * self.square + new * centroids**2

        # Draw centroids, and score each sample by its distance to that of its label.
        spread = np.sqrt(np.clip(self.square - self.mean**2, 1e-30, 1e30))
        noisy = self.mean + spread * rng.standard_normal(centroids.shape)
        drawn = np.where(counts[:, None] > self.sample_min, noisy, self.mean)
        scores = -((features - torch.from_numpy(drawn)[labels]) ** 2).sum(dim=1)
        return clean_by_class(scores.numpy(), labels, self.num_classes)


# ----------------------------------------------------------------------------------------------------------- training


def log_counts(class_counts: np.ndarray) -> Tensor:
    """log n_c [K], which a balanced softmax adds to the logits, so that frequent classes need larger ones."""
    return torch.from_numpy(class_counts).to(torch.float32).clamp(min=1).log()


class DivideMix:
    """Two networks with their optimisers; k says which one is meant.

    path: of the training images; ramp_epochs: over which the unlabelled loss gains its weight; on_step: called with the
    steps of the pass as each begins; bfloat16: the networks run under autocast. The counters are of images that went
    forward and backward (trained), forward for the targets (guessed) and forward for a selection (selected).
    """

    def __init__(
        self,
        path: Path,
        augmentation: Augmentation,
        num_classes: int,
        networks: Sequence[Network],
        device: torch.device,
        batch_size: int = 64,
        evaluation_batch: int = 256,
        ramp_epochs: float = RAMP_EPOCHS,
        on_step: Callable[[int], None] = lambda steps: None,
        bfloat16: bool = False,
    ):
        self.path, self.augmentation, self.num_classes, self.device = path, augmentation, num_classes, device
        self.batch_size, self.evaluation_batch, self.ramp_epochs = batch_size, evaluation_batch, ramp_epochs
        self.on_step, self.bfloat16 = on_step, bfloat16
        self.networks = [network.to(device) for network in networks]
        self.optimisers = [
            torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4) for network in self.networks
        ]
        self.trained = self.guessed = self.selected = 0
        self.losses: list[float] = []

    def forward(self, k: int, images: Tensor) -> list[Tensor | None]:
        """Features, logits of the main and of the balanced head, in fp32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            outputs = self.networks[k](images)
        return [None if out is None else out.float() for out in outputs] if self.bfloat16 else list(outputs)

    def step(self, k: int, loss: Tensor) -> None:
        self.optimisers[k].zero_grad()
        loss.backward()
        self.optimisers[k].step()
        self.losses.append(loss.item())

    def warm_up(self, k: int, log_counts: Tensor) -> None:
        """One epoch on all labels as they are."""
        self.networks[k].train()
        loader = batches(ImageDataset(self.path, self.augmentation, 1), 2 * self.batch_size)
        for images, labels, _, _ in loader:
            self.on_step(len(loader))
            self.step(k, self.warm_up_loss(k, images.to(self.device), labels.to(self.device), log_counts))

    def warm_up_loss(self, k: int, images: Tensor, labels: Tensor, log_counts: Tensor) -> Tensor:
        """Cross-entropy of the main head, and with balanced softmax of the balanced one."""
        _, main, balanced = self.forward(k, images)
        assert main is not None
        self.trained += len(images)
        loss = F.cross_entropy(main, labels)
        return loss if balanced is None else loss + F.cross_entropy(balanced + log_counts, labels)

    def co_divide(
        self, k: int, selected: np.ndarray, clean_probability: np.ndarray, log_counts: Tensor, epoch: float
    ) -> None:
        """One epoch over the samples that the other network selected, beside as many batches of the rest.

        epoch: since the warm-up.
        """
        self.networks[k].train()
        self.networks[1 - k].eval()
        labelled = ImageDataset(self.path, self.augmentation, 2, np.flatnonzero(selected), clean_probability)
        unlabelled = ImageDataset(self.path, self.augmentation, 2, np.flatnonzero(~selected))
        labelled_loader, unlabelled_loader = batches(labelled, self.batch_size), batches(unlabelled, self.batch_size)
        rest = iter(unlabelled_loader)
        for b, (x1, x2, labels, _, w) in enumerate(labelled_loader):
            self.on_step(len(labelled_loader))
            try:
                u1, u2, *_ = next(rest)
            except StopIteration:
                rest = iter(unlabelled_loader)
                u1, u2, *_ = next(rest)
            views = [view.to(self.device) for view in (x1, x2, u1, u2)]
            lam = float(np.random.default_rng(b).beta(ALPHA, ALPHA))
            permutation = torch.randperm(2 * len(x1) + 2 * len(u1))
            ramp_up = min(max((epoch + b / len(labelled_loader)) / self.ramp_epochs, 0), 1)
            loss = self.mixmatch_loss(
                k,
                views,
                labels.to(self.device),
                w.float().to(self.device),
                lam,
                permutation,
                LAMBDA_U * ramp_up,
                log_counts,
            )
            self.step(k, loss)

    def mixmatch_loss(
        self,
        k: int,
        views: list[Tensor],
        labels: Tensor,
        w: Tensor,
        lam: float,
        permutation: Tensor,
        lambda_u: float,
        log_counts: Tensor,
    ) -> Tensor:
        """DivideMix's loss of two views of labelled and two of unlabelled images (spec/methods.md §7).

        w: clean probability of the labelled ones; lam: MixUp's weight; permutation: of all views, to mix with.
        """
        x1, x2, u1, u2 = views
        with torch.no_grad():
            # Co-guessing: unlabelled images get the mean of both networks' answers for both views.
            guesses = [self._guess(k, u1), self._guess(k, u2), self._guess(1 - k, u1), self._guess(1 - k, u2)]
            guess_u = sum(guesses[1:], guesses[0]) / 4
            target_u = guess_u ** (1 / TEMPERATURE)
            target_u = target_u / target_u.sum(dim=1, keepdim=True)
            # Co-refinement: labelled ones get their label as far as it is trusted, and what this network says.
            guess_x = (self._guess(k, x1) + self._guess(k, x2)) / 2
            one_hot = torch.zeros(len(labels), self.num_classes, device=self.device)
            one_hot = one_hot.scatter_(1, labels.view(-1, 1), 1)
            target_x = (w.view(-1, 1) * one_hot + (1 - w.view(-1, 1)) * guess_x) ** (1 / TEMPERATURE)
            target_x = target_x / target_x.sum(dim=1, keepdim=True)

        # MixUp of everything with everything; the larger weight stays with the image itself.
        lam = max(lam, 1 - lam)
        images, targets = torch.cat([x1, x2, u1, u2]), torch.cat([target_x, target_x, target_u, target_u])
        images = lam * images + (1 - lam) * images[permutation]
        targets = lam * targets + (1 - lam) * targets[permutation]

        _, main, balanced = self.forward(k, images)
        assert main is not None
        self.trained += len(images)
        split = 2 * len(x1)

        def of_head(logits: Tensor) -> Tensor:
            labelled = -(F.log_softmax(logits[:split], dim=1) * targets[:split]).sum(dim=1).mean()
            return labelled + lambda_u * ((torch.softmax(logits[split:], dim=1) - targets[split:]) ** 2).mean()

        loss = of_head(main)
        if balanced is not None:
            loss = loss + of_head(balanced + log_counts)
        # The penalty: the mean answer shall be near a uniform one, so that not all samples go to one class.
        prior = torch.full((self.num_classes,), 1 / self.num_classes, device=self.device)
        mean = torch.softmax(main, dim=1).mean(dim=0)
        return loss + (prior * torch.log(prior / mean)).sum()

    def _guess(self, k: int, images: Tensor) -> Tensor:
        self.guessed += len(images)
        main = self.forward(k, images)[1]
        assert main is not None
        return torch.softmax(main, dim=1)

    def evaluate(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of all training images: features [N, d], losses [N] and the confidence in the observed labels [N]."""
        self.networks[k].eval()
        loader = batches(ImageDataset(self.path, self.augmentation, 0), self.evaluation_batch)
        count = len(loader.dataset)  # type: ignore[arg-type]
        features = torch.zeros(count, self.networks[k].main.in_features)
        losses, confidence = torch.zeros(count), torch.zeros(count)
        with torch.no_grad():
            for images, labels, rows, _ in loader:
                self.on_step(len(loader))
                out: Any = self.forward(k, images.to(self.device))
                keep(out, labels.to(self.device), rows, features, losses, confidence)
                self.selected += len(images)
        return features, losses, confidence

    def test(self, path: Path) -> float:
        """Accuracy [%] on other images of the sum of all heads of both networks."""
        for network in self.networks:
            network.eval()
        loader = batches(ImageDataset(path, self.augmentation, 0), self.evaluation_batch)
        correct = 0
        with torch.no_grad():
            for images, labels, _, _ in loader:
                heads = [head for network in self.networks for head in network(images.to(self.device))[1:]]
                predicted = sum(head for head in heads if head is not None).argmax(dim=1)
                correct += (predicted == labels.to(self.device)).sum().item()
        return 100 * correct / len(loader.dataset)  # type: ignore[arg-type]


def keep(out: Any, labels: Tensor, rows: Tensor, features: Tensor, losses: Tensor, confidence: Tensor) -> None:
    """Copy what a selection needs of a batch's outputs (features, main, balanced) to its rows, one sample at a time."""
    batch_features, main, balanced = out
    loss = F.cross_entropy(main, labels, reduction="none")
    probability = torch.softmax(main if balanced is None else balanced, dim=1)
    for b in range(len(rows)):
        features[rows[b]] = batch_features[b].cpu()
        losses[rows[b]] = loss[b].cpu()
        confidence[rows[b]] = probability[b, labels[b]].cpu()


# --------------------------------------------------------------------------------------------------------- a whole run


@dataclass(frozen=True)
class Settings:
    """Of a run. Epochs count from 1."""

    augmentation: Augmentation
    num_classes: int
    width: int
    epochs: int
    warmup_epochs: int
    ramp_epochs: float
    lr_drop_epoch: int  # from which on the learning rate is lr_drop times what it was
    beta: float
    phi: float
    lr_drop: float = 0.1
    batch_size: int = 32  # labelled, and as many unlabelled; twice as many in the warm-up
    evaluation_batch: int = 256
    seed: int = 0
    threads: int | None = None


def schedule(epochs: int) -> dict[str, Any]:
    """The published schedule, which has 200 epochs, for another number of epochs."""
    scale = epochs / 200
    return {
        "epochs": epochs,
        "warmup_epochs": int(np.ceil(30 * scale)),
        "ramp_epochs": max(1.0, RAMP_EPOCHS * scale),
        "lr_drop_epoch": int(150 * scale) + 1,
        "beta": BETA ** (1 / scale),
        "phi": PHI ** (1 / scale),
    }


def train(folder: Path) -> DivideMix:
    """The run on a folder's train.npz and test.npz with its settings.json; prints the accuracy after each epoch."""
    given = json.loads((folder / "settings.json").read_text())
    s = Settings(**{**given, "augmentation": Augmentation(**given["augmentation"])})
    with np.load(folder / "train.npz") as arrays:
        labels, (_, height, _, channels) = arrays["labels"], arrays["images"].shape
    if s.threads is not None:
        torch.set_num_threads(s.threads)
    torch.manual_seed(s.seed)
    rng = np.random.default_rng(s.seed)
    networks = [
        convnet(channels, s.width, s.num_classes, balanced=True)
        if height < 16
        else preact_resnet(s.width, s.num_classes, balanced=True)
        for _ in range(2)
    ]
    method = DivideMix(
        folder / "train.npz",
        s.augmentation,
        s.num_classes,
        networks,
        torch.device("cpu"),
        s.batch_size,
        s.evaluation_batch,
        s.ramp_epochs,
    )
    observed_counts = np.bincount(labels, minlength=s.num_classes)
    averages = [FeatureAverages(s.num_classes, int(0.06 * observed_counts.max()), s.beta, s.phi) for _ in range(2)]
    for epoch in range(1, s.epochs + 1):
        if epoch == s.lr_drop_epoch:
            for optimiser in method.optimisers:
                optimiser.param_groups[0]["lr"] *= s.lr_drop
        if epoch <= s.warmup_epochs:
            for k in (0, 1):
                method.warm_up(k, log_counts(observed_counts))
        else:
            clean_probability = []
            for k in (0, 1):
                features, _, confidence = method.evaluate(k)
                clean_probability.append(averages[k].select(features, confidence, labels, epoch, rng))
            for k in (0, 1):
                # A network that selected for itself would confirm its own errors.
                peer_probability = clean_probability[1 - k]
                selected = peer_probability > 0.5
                counts = np.bincount(labels[selected], minlength=s.num_classes)
                method.co_divide(k, selected, peer_probability, log_counts(counts), epoch - s.warmup_epochs)
        print(f"epoch {epoch}: {method.test(folder / 'test.npz'):.2f} %", flush=True)
    return method


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 images of 8×8, uint8 [N, 8, 8, 1], and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None], data.target.astype(np.int64)


def random_images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """2,500 images with CIFAR-10's shape, about which nothing can be learnt."""
    return rng.integers(0, 256, (2500, 32, 32, 3), dtype=np.uint8), np.repeat(np.arange(10), 250)


def long_tail(labels: np.ndarray, imb_factor: float, rng: np.random.Generator) -> np.ndarray:
    """Rows to keep: int(n·IF^(c/(K−1))) of class c, n being the mean size of a class."""
    num_classes, kept = int(labels.max()) + 1, []
    for c in range(num_classes):
        count = int(len(labels) / num_classes * imb_factor ** (c / (num_classes - 1)))
        kept.append(rng.permutation(np.flatnonzero(labels == c))[:count])
    return np.concatenate(kept)


def mislabelled(labels: np.ndarray, noise_ratio: float, rng: np.random.Generator) -> np.ndarray:
    """The labels with that share of them replaced by another class, drawn uniformly."""
    num_classes, observed = int(labels.max()) + 1, labels.copy()
    wrong = rng.permutation(len(labels))[: round(noise_ratio * len(labels))]
    observed[wrong] = (labels[wrong] + rng.integers(1, num_classes, len(wrong))) % num_classes
    return observed


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Write what `train` reads: every fifth image is a test image, the rest get a long tail and noisy labels."""
    rng = np.random.default_rng(options.seed)
    images, labels = digits() if options.data == "digits" else random_images(rng)
    test = np.arange(len(labels)) % 5 == 4
    save(folder / "test.npz", images[test], labels[test])
    images, labels = images[~test], labels[~test]
    rows = long_tail(labels, options.imb_factor, rng)
    images, labels = images[rows], mislabelled(labels[rows], options.noise_ratio, rng)
    save(folder / "train.npz", images, labels)
    mean, std = ((images / 255).mean((0, 1, 2)).tolist(), (images / 255).std((0, 1, 2)).tolist())
    augmentation = Augmentation(mean, std, 1, False) if options.data == "digits" else Augmentation(mean, std)
    settings = Settings(augmentation, 10, 16, **schedule(options.epochs), seed=options.seed, threads=options.threads)
    (folder / "settings.json").write_text(json.dumps(dataclasses.asdict(settings)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="digits", help="digits, random or a folder (default: digits)")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--imb-factor", type=float, default=0.1, help="smallest class / largest class (default: 0.1)")
    parser.add_argument("--noise-ratio", type=float, default=0.4, help="share of noisy labels (default: 0.4)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: as Torch chooses")
    options = parser.parse_args()
    if options.data not in ("digits", "random"):
        folder = Path(options.data)
        for name in ("train.npz", "test.npz", "settings.json"):
            if not (folder / name).is_file():
                parser.error(f"{folder} has no {name}; data is digits, random or a folder with all three files")
        train(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made), options)
        train(Path(made))


if __name__ == "__main__":
    main()
