"""A small multilayer perceptron in numpy: forward, backward, Adam. Follows RealMLP (Holzmüller, Grinsztajn, Steinwart 2024) in parametrisation,
scaling layer, activation, periodic embeddings of numbers, learning-rate schedule and initialisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

BATCH = 256
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
BETAS = (0.9, 0.95)
FREQUENCIES, EMBEDDED = 16, 3


@dataclass(frozen=True)
class Shape:
    """What a network is made of."""

    inputs: int
    numbers: int
    """The first so many inputs are numbers; with `periodic` each also enters through a learned periodic embedding."""
    outputs: int
    hidden: tuple[int, ...] = (128, 128)
    regression: bool = False
    periodic: bool = True

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every array of weights."""
        width = self.inputs + (EMBEDDED * self.numbers if self.periodic else 0)
        made: dict[str, tuple[int, ...]] = {}
        if self.periodic and self.numbers:
            made |= {"frequency": (self.numbers, FREQUENCIES), "phase": (self.numbers, FREQUENCIES),
                     "mix": (self.numbers, FREQUENCIES, EMBEDDED), "mix_bias": (self.numbers, EMBEDDED)}
        made["scale"] = (width,)
        for i, (a, b) in enumerate(zip((width, *self.hidden), (*self.hidden, self.outputs), strict=True)):
            made |= {f"weight{i}": (a, b), f"bias{i}": (b,)}
        return made


class Weights:
    """All arrays of a network as views into one float32 vector, so that Adam is a handful of vector operations."""

    def __init__(self, shape: Shape, flat: np.ndarray | None = None) -> None:
        self.sizes = shape.sizes()
        total = sum(int(np.prod(s)) for s in self.sizes.values())
        self.flat = np.zeros(total, dtype=np.float32) if flat is None else flat
        if len(self.flat) != total:
            raise ValueError(f"a network of this shape has {total} weights, not {len(self.flat)}")
        self.views: dict[str, np.ndarray] = {}
        at = 0
        for name, size in self.sizes.items():
            self.views[name] = self.flat[at : at + int(np.prod(size))].reshape(size)
            at += int(np.prod(size))

    def __getitem__(self, name: str) -> np.ndarray:
        return self.views[name]


def initial(shape: Shape, rng: np.random.Generator) -> Weights:
    """Weights of unit variance (the forward pass divides by the root of the inputs), output layer near zero."""
    made = Weights(shape)
    for name, view in made.views.items():
        if name == "scale":
            view[:] = 1.0
        elif name == "frequency":
            view[:] = rng.normal(0, 0.1, view.shape) * 2 * np.pi
        elif name == "phase":
            view[:] = rng.uniform(-np.pi, np.pi, view.shape)
        elif name == "mix":
            view[:] = rng.normal(0, 1, view.shape) / np.sqrt(FREQUENCIES)
        else:
            view[:] = rng.normal(0, 1, view.shape)
    made[f"weight{len(shape.hidden)}"][:] *= 0.1
    made[f"bias{len(shape.hidden)}"][:] = 0.0
    return made


def rates(shape: Shape) -> np.ndarray:
    """Learning-rate factor of every weight: 6 for the scaling layer, 0.1 for biases and embeddings' phases."""
    made = Weights(shape)
    for name, view in made.views.items():
        view[:] = 6.0 if name == "scale" else 0.1 if name.startswith(("bias", "phase", "frequency", "mix")) else 1.0
    return made.flat


def _selu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    negative = SELU_ALPHA * np.expm1(np.minimum(x, 0))
    above = x > 0
    return SELU_SCALE * np.where(above, x, negative), SELU_SCALE * np.where(above, 1, negative + SELU_ALPHA)


def _mish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    e = np.exp(np.minimum(x, 20))
    n = e * (e + 2)
    t = n / (n + 2)
    return x * t, t + x * (1 - t * t) * (e / (1 + e))


@dataclass(eq=False)
class Pass:
    """One forward pass, with what the backward pass needs."""

    shape: Shape
    weights: Weights
    x: np.ndarray
    dropout: float = 0.0
    rng: np.random.Generator | None = None
    inputs: list[np.ndarray] = field(default_factory=list)
    slopes: list[np.ndarray] = field(default_factory=list)

    def forward(self) -> np.ndarray:
        """(n, outputs) scores."""
        w, act = self.weights, _mish if self.shape.regression else _selu
        self.first = self._embedded()
        h = self.first * w["scale"]
        for i in range(len(self.shape.hidden)):
            self.inputs.append(h)
            h, slope = act(h @ w[f"weight{i}"] * np.float32(1 / np.sqrt(h.shape[1])) + w[f"bias{i}"])
            if self.dropout and self.rng is not None:
                kept = (self.rng.random(h.shape, dtype=np.float32) >= self.dropout) * np.float32(1 / (1 - self.dropout))
                h, slope = h * kept, slope * kept
            self.slopes.append(slope)
        self.inputs.append(h)
        last = len(self.shape.hidden)
        return np.asarray(h @ w[f"weight{last}"] * np.float32(1 / np.sqrt(h.shape[1])) + w[f"bias{last}"])

    def backward(self, slope: np.ndarray, gradient: Weights) -> None:
        """Fill `gradient` from the loss's slope in the scores (n, outputs)."""
        w = self.weights
        for i in range(len(self.shape.hidden), -1, -1):
            h = self.inputs[i]
            root = np.float32(1 / np.sqrt(h.shape[1]))
            np.matmul(h.T, slope * root, out=gradient[f"weight{i}"])
            gradient[f"bias{i}"][:] = slope.sum(axis=0)
            slope = slope @ w[f"weight{i}"].T * root
            if i:
                slope = slope * self.slopes[i - 1]
        gradient["scale"][:] = (slope * self.first).sum(axis=0)
        if self.shape.periodic and self.shape.numbers:
            self._embedding_gradient((slope * w["scale"])[:, self.shape.inputs :], gradient)

    def _embedded(self) -> np.ndarray:
        if not (self.shape.periodic and self.shape.numbers):
            return self.x
        w, numbers = self.weights, self.x[:, : self.shape.numbers].T[:, :, None]
        angle = numbers * w["frequency"][:, None, :] + w["phase"][:, None, :]
        self.cosine, self.sine = np.cos(angle), np.sin(angle)
        mixed = np.matmul(self.cosine, w["mix"]) + w["mix_bias"][:, None, :]
        return np.hstack([self.x, mixed.transpose(1, 0, 2).reshape(len(self.x), -1)])

    def _embedding_gradient(self, slope: np.ndarray, gradient: Weights) -> None:
        by_number = slope.reshape(len(slope), self.shape.numbers, EMBEDDED).transpose(1, 0, 2)
        gradient["mix"][:] = np.matmul(self.cosine.transpose(0, 2, 1), by_number)
        gradient["mix_bias"][:] = by_number.sum(axis=1)
        angle = -np.matmul(by_number, self.weights["mix"].transpose(0, 2, 1)) * self.sine
        gradient["phase"][:] = angle.sum(axis=1)
        gradient["frequency"][:] = (angle * self.x[:, : self.shape.numbers].T[:, :, None]).sum(axis=1)


def schedule(progress: float) -> float:
    """Learning-rate factor: four cosine cycles that double in length (RealMLP's coslog4), zero at the end."""
    return float(0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * progress))))


def flat_cosine(progress: float) -> float:
    """Factor of penalties: one for half the time, then a cosine down to zero."""
    return 1.0 if progress < 0.5 else float(0.5 * (1 + np.cos(np.pi * (2 * progress - 1))))


@dataclass(frozen=True)
class Training:
    """Settings of one training."""

    rate: float
    epochs: int
    dropout: float = 0.0
    decay: float = 0.0
    smoothing: float = 0.0
    batch: int = BATCH


def train(
    shape: Shape, x: np.ndarray, targets: np.ndarray, weight: np.ndarray, settings: Training, seed: int, clock: Callable[[], float | None]
) -> Weights:
    """Train on rows x (n, inputs) float32 and targets (n, outputs): class indicators, or standardised numbers. `weight` (n,) has mean 1.

    `clock()` is the share of the time that has gone by, or None to stop now: the schedule follows it where it runs ahead of the epochs.
    """
    rng = np.random.default_rng(seed)
    weights, gradient = initial(shape, rng), Weights(shape)
    factor, first, second = rates(shape), np.zeros_like(gradient.flat), np.zeros_like(gradient.flat)
    goal = targets if shape.regression else targets * (1 - settings.smoothing) + settings.smoothing / targets.shape[1]
    n, size = len(x), min(settings.batch, len(x))
    per_epoch = max(1, n // size)
    total, done = settings.epochs * per_epoch, 0
    for _ in range(settings.epochs):
        order = rng.permutation(n)
        for k in range(per_epoch):
            gone = clock()
            if gone is None or gone >= 1:
                return weights
            progress = max(done / total, gone)
            rows = order[k * size : (k + 1) * size]
            run = Pass(shape, weights, x[rows], settings.dropout * flat_cosine(progress), rng)
            run.backward(_slope(run.forward(), goal[rows], weight[rows], shape.regression), gradient)
            done += 1
            rate = settings.rate * schedule(progress)
            g = gradient.flat
            first += (1 - BETAS[0]) * (g - first)
            second += (1 - BETAS[1]) * (g * g - second)
            step = (first / (1 - BETAS[0] ** done)) / (np.sqrt(second / (1 - BETAS[1] ** done)) + 1e-8)
            if settings.decay:
                step += settings.decay * flat_cosine(progress) * weights.flat
            weights.flat -= np.float32(rate) * factor * step
    return weights


def _slope(raw: np.ndarray, goal: np.ndarray, weight: np.ndarray, regression: bool) -> np.ndarray:
    if not regression:
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        raw /= raw.sum(axis=1, keepdims=True)
    return np.asarray((raw - goal) * (weight / len(raw))[:, None], dtype=np.float32)


def scores(shape: Shape, weights: Weights, x: np.ndarray, chunk: int = 512) -> np.ndarray:
    """(n, outputs) scores, summed in double precision: a row's do not depend on the rows beside it."""
    if not len(x):
        return np.zeros((0, shape.outputs))
    exact = Weights(shape, weights.flat.astype(np.float64))
    return np.concatenate([Pass(shape, exact, x[i : i + chunk].astype(np.float64)).forward() for i in range(0, len(x), chunk)])


def side_by_side(networks: Sequence[Weights]) -> dict[str, np.ndarray]:
    """Weights of networks of one shape, stacked, in double precision."""
    return {name: np.stack([w[name] for w in networks]).astype(np.float64) for name in networks[0].sizes}


def scores_of_each(shape: Shape, w: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """(m, outputs) scores of m stacked networks, each of its own row of x (m, inputs): one forward pass instead of m, summed as by `scores`."""
    x = x.astype(np.float64)
    act, h = _mish if shape.regression else _selu, x
    if shape.periodic and shape.numbers:
        angle = x[:, : shape.numbers, None] * w["frequency"] + w["phase"]
        mixed = np.einsum("mnf,mnfe->mne", np.cos(angle), w["mix"]) + w["mix_bias"]
        h = np.hstack([x, mixed.reshape(len(x), -1)])
    h = h * w["scale"]
    for i in range(len(shape.hidden) + 1):
        h = np.matmul(h[:, None], w[f"weight{i}"])[:, 0] * np.float32(1 / np.sqrt(h.shape[1])) + w[f"bias{i}"]
        if i < len(shape.hidden):
            h = act(h)[0]
    return np.asarray(h)
