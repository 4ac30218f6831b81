"""Float models: the example references, and small ones trained here with fixed seeds.

Every model comes with at least 128 samples, the calibration feeds for static quantizers, and labels
where it has a task. Nothing here is downloaded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from tests.corpus import nets

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class FloatModel:
    """A float reference with its data. ``inputs`` and ``calibration`` hold arrays by input name."""

    name: str
    proto: onnx.ModelProto
    inputs: Arrays
    calibration: Arrays
    labels: np.ndarray | None = None
    task: str | None = None

    @property
    def data(self) -> Arrays:
        """What is stored as the npz: the inputs, and the labels under ``label``."""
        return self.inputs if self.labels is None else {**self.inputs, "label": self.labels}

    def feeds(self, batch: int = 32, limit: int = 128) -> list[Arrays]:
        """Calibration batches."""
        total = min(limit, len(next(iter(self.calibration.values()))))
        return [
            {name: value[start : start + batch] for name, value in self.calibration.items()}
            for start in range(0, total - batch + 1, batch)
        ]


@dataclass(frozen=True)
class Shelf:
    """Where the example models and data are found, whatever folders they were sorted into."""

    root: Path

    def path(self, *tail: str) -> Path | None:
        """The first file below the root whose path ends in ``tail``."""
        hits = sorted(hit for hit in self.root.rglob(tail[-1]) if hit.parts[-len(tail) :] == tail)
        return hits[0] if hits else None

    def need(self, *tail: str) -> Path:
        """As ``path``; raises FileNotFoundError where there is none."""
        found = self.path(*tail)
        if found is None:
            raise FileNotFoundError("/".join(tail))
        return found

    def digits(self) -> tuple[Arrays, Arrays]:
        """(calibration, test) of the digits, each with ``image`` and ``label``."""
        test = dict(np.load(self.need("digits_test.npz")))
        return self.calibration("digits_calib.npz", test), test

    def calibration(self, name: str, test: Arrays) -> Arrays:
        """The stored calibration data; the last third of the test data where there is none."""
        found = self.path(name)
        start = len(next(iter(test.values()))) * 2 // 3
        return {k: v[start:] for k, v in test.items()} if found is None else dict(np.load(found))


Maker = Callable[[Shelf, int], FloatModel]
MODELS: dict[str, Maker] = {}


def model(maker: Maker) -> Maker:
    """Registers a maker under its function's name; its second argument is the seed."""
    MODELS[maker.__name__] = maker
    return maker


def make(name: str, shelf: Shelf, seed: int = 0) -> FloatModel:
    """The named model; another seed is another training of the same architecture."""
    return MODELS[name](shelf, seed)


def export(
    net: object,
    example: tuple[object, ...],
    inputs: list[str],
    outputs: list[str],
    *,
    opset: int = 17,
    fold: bool = True,
) -> onnx.ModelProto:
    """A torch module as ONNX with a dynamic first axis, by the TorchScript exporter."""
    import torch

    stream = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            example,
            stream,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            dynamo=False,
            training=mode,
            do_constant_folding=fold,
            dynamic_axes={name: {0: "N"} for name in [*inputs, *outputs]},
        )
    return onnx.load_from_string(stream.getvalue())


def _perturbed(proto: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Another initialisation of a model that cannot be trained again: weights shuffled by seed."""
    from tests.corpus import graph

    if seed == 0:
        return proto
    changed = graph.clone(proto)
    rng = np.random.default_rng(seed)
    for name, _ in graph.float_weights(changed):
        value = graph.array(changed, name)
        graph.put(changed, name, rng.permutation(value.ravel()).reshape(value.shape).astype(value.dtype))
    return changed


@model
def digits(shelf: Shelf, seed: int) -> FloatModel:
    """The example CNN on digits."""
    calibration, test = shelf.digits()
    proto = _perturbed(onnx.load(shelf.need("digits_fp32.onnx")), seed)
    inputs = {"image": test["image"]}
    return FloatModel("digits", proto, inputs, {"image": calibration["image"]}, test["label"], "top1")


@model
def diabetes(shelf: Shelf, seed: int) -> FloatModel:
    """The example regression; its targets are the labels."""
    test = dict(np.load(shelf.need("diabetes_test.npz")))
    calibration = shelf.calibration("diabetes_calib.npz", test)
    proto = _perturbed(onnx.load(shelf.need("diabetes_fp32.onnx")), seed)
    return FloatModel(
        "diabetes", proto, {"image": test["image"]}, {"image": calibration["image"]}, test["target"], "mae"
    )


@model
def ppocr_cls(shelf: Shelf, seed: int) -> FloatModel:
    """The text-angle classifier; half turns (which exchange the labels) and brightness make 144 samples."""
    raw = dict(np.load(shelf.need("eval24_uint8.npz")))
    image = raw["image_u8"].astype(np.float32) / 127.5 - 1
    turned = image[:, :, ::-1, ::-1]
    both, labels = np.concatenate([image, turned]), np.concatenate([raw["label"], 1 - raw["label"]])
    data = np.concatenate([both, np.clip(both * 0.8, -1, 1), np.clip(both + 0.15, -1, 1)]).astype(np.float32)
    proto = _perturbed(onnx.load(shelf.need("ppocr_cls", "ref.onnx")), seed)
    calibration = {"x": data[np.random.default_rng(0).permutation(len(data))]}
    return FloatModel(
        "ppocr_cls", proto, {"x": data}, calibration, np.tile(labels, 3).astype(np.int64), "top1"
    )


@model
def mtcnn_rnet(shelf: Shelf, seed: int) -> FloatModel:
    """The face detector's second stage on smooth random patches (no labels)."""
    rng = np.random.default_rng(7)
    coarse = rng.normal(0, 0.6, (256, 3, 6, 6)).astype(np.float32)
    patches = np.clip(coarse.repeat(4, 2).repeat(4, 3) + rng.normal(0, 0.1, (256, 3, 24, 24)), -1, 1)
    image = patches.astype(np.float32)
    proto = _perturbed(onnx.load(shelf.need("mtcnn_rnet", "ref.onnx")), seed)
    return FloatModel("mtcnn_rnet", proto, {"image": image[:128]}, {"image": image[128:]})


@model
def crepe_tiny(shelf: Shelf, seed: int) -> FloatModel:
    """The pitch estimator on harmonic tones with noise (no labels)."""
    rng = np.random.default_rng(11)
    time = np.arange(1024) / 16000.0
    pitch = 2 ** rng.uniform(np.log2(60), np.log2(900), 192)
    harmonics = sum(np.sin(2 * np.pi * pitch[:, None] * k * time + k) / k for k in range(1, 5))
    frames = harmonics + rng.normal(0, 0.05, (192, 1024))
    frames = ((frames - frames.mean(1, keepdims=True)) / frames.std(1, keepdims=True)).astype(np.float32)
    proto = _perturbed(onnx.load(shelf.need("crepe_tiny", "ref.onnx")), seed)
    return FloatModel("crepe_tiny", proto, {"frames": frames[:128]}, {"frames": frames[128:]})


@model
def mlp(shelf: Shelf, seed: int) -> FloatModel:
    """Three Gemm layers on Gaussian blobs."""
    x, y = nets.blobs()
    net = nets.train(nets.mlp(seed), (x,), y, seed=seed)
    proto = export(net, (nets.tensor(x[:2]),), ["features"], ["scores"])
    return FloatModel("mlp", proto, {"features": x[:256]}, {"features": x[256:512]}, y[:256], "top1")


def _on_digits(name: str, shelf: Shelf, net: object, seed: int, **options: object) -> FloatModel:
    calibration, test = shelf.digits()
    x, y = test["image"][200:], test["label"][200:]
    nets.train(net, (x,), y, seed=seed, steps=400)
    proto = export(net, (nets.tensor(x[:2]),), ["image"], ["logits"], **options)
    return FloatModel(
        name,
        proto,
        {"image": test["image"][:200]},
        {"image": calibration["image"]},
        test["label"][:200],
        "top1",
    )


@model
def cnn_bn(shelf: Shelf, seed: int) -> FloatModel:
    """A residual CNN whose BatchNorm is left unfolded."""
    return _on_digits("cnn_bn", shelf, nets.residual(seed), seed, fold=False)


@model
def depthwise(shelf: Shelf, seed: int) -> FloatModel:
    """Depthwise-separable convolutions with ReLU6."""
    return _on_digits("depthwise", shelf, nets.depthwise(seed), seed)


@model
def autoencoder(shelf: Shelf, seed: int) -> FloatModel:
    """Conv and ConvTranspose; an image comes out (no labels)."""
    calibration, test = shelf.digits()
    x = test["image"][200:]
    net = nets.train(nets.autoencoder(seed), (x,), x, seed=seed)
    proto = export(net, (nets.tensor(x[:2]),), ["image"], ["restored"])
    return FloatModel("autoencoder", proto, {"image": test["image"][:200]}, {"image": calibration["image"]})


@model
def transformer(shelf: Shelf, seed: int) -> FloatModel:
    """Embedding, attention, LayerNorm, MatMul; which of two token classes is in the majority."""
    x, y = nets.token_sequences()
    net = nets.train(nets.transformer(seed), (x,), y, seed=seed)
    proto = export(net, (nets.tensor(x[:2]),), ["tokens"], ["scores"])
    return FloatModel("transformer", proto, {"tokens": x[:200]}, {"tokens": x[200:400]}, y[:200], "top1")


@model
def tied_lm(shelf: Shelf, seed: int) -> FloatModel:
    """A next-token model whose embedding is also its output matrix."""
    x, y = nets.markov_chain()
    net = nets.train(nets.tied_language_model(seed), (x,), y, seed=seed)
    proto = export(net, (nets.tensor(x[:2]),), ["tokens"], ["scores"], fold=False)
    return FloatModel("tied_lm", proto, {"tokens": x[:256]}, {"tokens": x[256:512]}, y[:256], "top1")


def _recurrent(name: str, kind: str, seed: int) -> FloatModel:
    x, y = nets.signals()
    net = nets.train(nets.recurrent(kind, seed), (x,), y, seed=seed)
    proto = export(net, (nets.tensor(x[:2]),), ["signal"], ["scores"])
    return FloatModel(name, proto, {"signal": x[:200]}, {"signal": x[200:400]}, y[:200], "top1")


@model
def gru(shelf: Shelf, seed: int) -> FloatModel:
    """A GRU and a Gemm on noisy waves."""
    return _recurrent("gru", "GRU", seed)


@model
def lstm(shelf: Shelf, seed: int) -> FloatModel:
    """An LSTM and a Gemm on noisy waves."""
    return _recurrent("lstm", "LSTM", seed)


@model
def two_heads(shelf: Shelf, seed: int) -> FloatModel:
    """Two inputs of different kinds, two outputs (class scores and a regression)."""
    calibration, test = shelf.digits()
    rng = np.random.default_rng(5)
    side = rng.normal(size=(len(test["image"]), 6)).astype(np.float32)
    side_calibration = rng.normal(size=(len(calibration["image"]), 6)).astype(np.float32)
    x, y = test["image"][200:], test["label"][200:]
    net = nets.train(nets.two_heads(seed), (x, side[200:]), y, seed=seed)
    proto = export(net, (nets.tensor(x[:2]), nets.tensor(side[:2])), ["image", "side"], ["logits", "level"])
    return FloatModel(
        "two_heads",
        proto,
        {"image": test["image"][:200], "side": side[:200]},
        {"image": calibration["image"], "side": side_calibration},
        test["label"][:200],
        "top1",
    )


def session(proto: onnx.ModelProto | str | Path, *, optimised: bool = True) -> ort.InferenceSession:
    """A quiet single-threaded CPU session with exact u8s8 arithmetic."""
    ort.set_seed(0)  # for faults that add noise
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = proto.SerializeToString() if isinstance(proto, onnx.ModelProto) else str(proto)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(proto: onnx.ModelProto | str | Path, inputs: Arrays, limit: int = 64) -> Arrays:
    """Outputs by name on the first samples."""
    ready = session(proto)
    wanted = [entry.name for entry in ready.get_outputs()]
    feed = {entry.name: inputs[entry.name][:limit] for entry in ready.get_inputs() if entry.name in inputs}
    return dict(zip(wanted, ready.run(wanted, feed), strict=True))
