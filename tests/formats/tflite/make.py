"""Makes the models beside it with TensorFlow's converter and Google's AI Edge Quantizer; run where both are installed.

    pip install tensorflow-cpu==2.21.0 ai-edge-quantizer==0.10.0
    python tests/formats/tflite/make.py

The networks are trained here from a seed on waves with noise, so that nobody else's licence is theirs. Trained again on
another machine they are other models: the files, not this script, are what the tests read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_quantizer import quantizer, recipe
from keras import layers

HERE = Path(__file__).parent
SIZE, CLASSES = 12, 10


def waves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of ten kinds of waves, [count, SIZE, SIZE, 3], and which they are."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    at = np.linspace(0, 2 * np.pi, SIZE)
    kinds = [np.sin(at[:, None] * (1 + k % 4) + k) * np.cos(at * (1 + k // 4)) for k in range(CLASSES)]
    pictures = np.stack(kinds)[labels][..., None] * np.array([1, 0.5, -0.7])
    return (pictures + random.normal(0, 0.5, (count, SIZE, SIZE, 3))).astype(np.float32), labels


def cnn() -> keras.Model:
    """Convolutions with BatchNorm, one by depth, a residual sum, a concatenation, hard-swish and softmax."""
    x = source = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Conv2D(8, 1, use_bias=False)(layers.ReLU(6.0)(layers.BatchNormalization()(y)))
    x = layers.Add()([x, layers.BatchNormalization()(y)])
    x = layers.Concatenate()(
        [layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x), layers.MaxPooling2D()(x)]
    )
    x = layers.Dense(48, activation="hard_swish")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(source, layers.Dense(CLASSES, activation="softmax")(x))


def attention() -> keras.Model:
    """Attention of two heads with its norm, and a GELU behind it; shapes are computed while it runs."""
    x = source = keras.Input((8, 16))
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)]))
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
    return keras.Model(source, layers.Dense(5)(x))


def convert(model: keras.Model, name: str, samples: np.ndarray | None = None, *, whole: bool = False) -> None:
    """Writes a model in float32 or, with samples, in int8: between float ends, or ``whole``."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    if whole:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (HERE / name).write_bytes(converter.convert())


def quantize(reference: str, name: str, which: Callable[[], object], samples: np.ndarray) -> None:
    """Writes a model as AI Edge Quantizer makes it of one in float32."""
    path = HERE / reference
    made = quantizer.Quantizer(str(path))
    made.load_quantization_recipe(which())
    (key, signature), *_ = tf.lite.Interpreter(str(path)).get_signature_list().items()

    def fed() -> Iterator[dict[str, np.ndarray]]:
        for sample in samples:
            yield {signature["inputs"][0]: sample[None]}

    seen = made.calibrate({key: list(fed())}) if made.need_calibration else None
    (HERE / name).unlink(missing_ok=True)
    made.quantize(seen).export_model(str(HERE / name))
    (HERE / name).chmod(0o644)


def main() -> None:
    """Trains both networks and writes their files."""
    keras.utils.set_random_seed(3)
    pictures, labels = waves(3000, 0)
    model = cnn()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(pictures, labels, epochs=5, verbose=0)
    some, which = waves(48, 1)
    np.savez_compressed(HERE / "cnn_data.npz", x=some.round(2), labels=which)
    convert(model, "cnn_fp32.tflite")
    convert(model, "cnn_int8.tflite", pictures[:200], whole=True)
    quantize("cnn_fp32.tflite", "cnn_aeq_int8.tflite", recipe.static_wi8_ai8, pictures[:400])
    quantize("cnn_fp32.tflite", "cnn_aeq_int16.tflite", recipe.static_wi8_ai16, pictures[:400])
    quantize("cnn_fp32.tflite", "cnn_aeq_int4.tflite", recipe.weight_only_wi4_afp32, pictures)
    noise = np.random.default_rng(6).normal(size=(400, 8, 16)).astype(np.float32)
    model = attention()
    model.compile("adam", "mse")
    model.fit(noise, noise.mean(1)[:, :5], epochs=5, verbose=0)
    np.savez_compressed(HERE / "attention_data.npz", x=noise[-24:].round(2))
    convert(model, "attention_fp32.tflite")
    convert(model, "attention_int8.tflite", noise[:200])


if __name__ == "__main__":
    main()
