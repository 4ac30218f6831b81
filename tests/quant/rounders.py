"""Rounding rules that honest quantizers use besides the nearest, as their papers give them."""

from __future__ import annotations

import numpy as np

from tests.quant.codes import coded


def scales(weight, top=127):
    """One symmetric scale for each row."""
    return np.maximum(np.abs(weight).max(axis=1) / np.float32(top), 1e-9).astype(np.float32)


def rows(weight, codes, top=127, dtype="int8"):
    return coded(np.clip(codes, -top - 1, top), scales(weight, top), axis=0, dtype=dtype)


def to_nearest(weight, top=127, dtype="int8"):
    return rows(weight, np.rint(weight / scales(weight, top)[:, None]), top, dtype)


def squant(weight, top=127, dtype="int8"):
    """SQuant (Guo et al. 2022, arXiv:2202.07471), for whole rows: codes nearest to a tie are turned until the row's
    errors add up to less than a half."""
    exact = weight.astype(np.float64) / scales(weight, top)[:, None]
    codes = np.rint(exact)
    for x, q in zip(exact, codes, strict=True):
        error = q - x
        turned = int(np.rint(abs(error.sum())))
        way = np.sign(error.sum())
        order = np.argsort(-way * error)[:turned]
        q[order] -= way
    return rows(weight, codes, top, dtype)


def adaround(weight, inputs, top=127, dtype="int8", rounds=3):
    """AdaRound's problem (Nagel et al. 2020, arXiv:2004.10568), each row's floors and ceilings chosen for the least
    squared error of its output, by coordinate descent instead of its relaxation."""
    steps = scales(weight, top)[:, None]
    exact = weight.astype(np.float64) / steps
    gram = inputs.T @ inputs / len(inputs)
    codes = np.rint(exact)
    for _ in range(rounds):
        for j in range(weight.shape[1]):
            error = codes - exact
            push = error @ gram[:, j] - error[:, j] * gram[j, j]
            low, high = np.floor(exact[:, j]), np.ceil(exact[:, j])
            cost = [2 * push * (c - exact[:, j]) + gram[j, j] * (c - exact[:, j]) ** 2 for c in (low, high)]
            codes[:, j] = np.clip(np.where(cost[0] <= cost[1], low, high), -top - 1, top)
    return rows(weight, codes, top, dtype)


def gptq(weight, inputs, top=127, dtype="int8", damping=0.01):
    """GPTQ (Frantar et al. 2022, arXiv:2210.17323), one scale a row, columns in order."""
    gram = inputs.T @ inputs / len(inputs)
    gram += damping * np.mean(np.diag(gram)) * np.eye(len(gram))
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T
    steps = scales(weight, top)
    left = weight.astype(np.float64)
    codes = np.empty_like(left)
    for j in range(weight.shape[1]):
        codes[:, j] = np.clip(np.rint(left[:, j] / steps), -top - 1, top)
        error = (left[:, j] - codes[:, j] * steps) / upper[j, j]
        left[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
    return rows(weight, codes, top, dtype)


def correlated(seed, samples, features, rank=8, share=0.5):
    """Inputs of which a share of the variance lies in a few directions, as activations do."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((samples, rank)) @ rng.standard_normal((rank, features)) / np.sqrt(rank)
    return np.sqrt(1 - share) * rng.standard_normal((samples, features)) + np.sqrt(share) * few
