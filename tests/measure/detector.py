"""A detector from pixels to boxes in one ONNX graph, and pictures for it: squares of two colours on noise."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, SQUARE, STEP = 64, 12, 2


def write_detector(path, change=None, square=SQUARE):
    """A filter for each colour, a sigmoid, and NonMaxSuppression; ``change`` alters its weights."""
    places = (SIDE - square) // STEP + 1
    weight = np.full((2, 3, square, square), -1.0, np.float32)
    weight[0, 0], weight[1, 1] = 1.0, 1.0  # red without green and blue, green without red and blue
    weight[:, 2] = -0.5
    weight *= 12.0 / square**2
    weight = weight if change is None else change(weight)
    at = np.arange(places) * STEP
    top, left = np.meshgrid(at, at, indexing="ij")
    corners = np.stack([left, top, left + square, top + square], axis=-1).reshape(1, -1, 4)
    constants = {
        "w": weight,
        "b": np.full(2, -5.0, np.float32),
        "anchors": corners.astype(np.float32),
        "flat": np.array([1, 2, -1]),
        "most": np.array(20),
        "overlap": np.array(0.3, np.float32),
        "least": np.array(0.3, np.float32),
        "one": np.array(1),
        "two": np.array(2),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w", "b"], ["heat"], name="conv", strides=[STEP, STEP]),
        node("Sigmoid", ["heat"], ["sure"], name="sigmoid"),
        node("Reshape", ["sure", "flat"], ["likely"], name="reshape"),
        node("NonMaxSuppression", ["anchors", "likely", "most", "overlap", "least"], ["chosen"], name="nms"),
        node("GatherND", ["likely", "chosen"], ["scores"], name="take_scores"),
        node("Gather", ["chosen", "one"], ["classes"], name="take_classes", axis=1),
        node("Gather", ["chosen", "two"], ["place"], name="take_place", axis=1),
        node("Gather", ["anchors", "place"], ["some"], name="take_boxes", axis=1),
        node("Squeeze", ["some", "zero"], ["boxes"], name="squeeze"),
    ]
    constants["zero"] = np.array([0])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "detector",
        [value("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [
            value("boxes", TensorProto.FLOAT, ["found", 4]),
            value("scores", TensorProto.FLOAT, ["found"]),
            value("classes", TensorProto.INT64, ["found"]),
        ],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def pictures(count, seed=4):
    """Pictures, [count, 64, 64, 3] uint8, and labels of each, [squares, 5]: corners and class."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 60, (count, SIDE, SIDE, 3)).astype(np.uint8)
    labels = []
    for image in images:
        own = []
        for _ in range(generator.integers(0, 4)):
            left, top = generator.integers(0, SIDE - SQUARE, 2)
            label = int(generator.integers(0, 2))
            if all(abs(left - x) > SQUARE or abs(top - y) > SQUARE for x, y, *_ in own):
                part = image[top : top + SQUARE, left : left + SQUARE]
                part[:] = generator.integers(0, 60, part.shape)
                part[:, :, label] = generator.integers(190, 256, part.shape[:2])
                own.append([left, top, left + SQUARE, top + SQUARE, label])
        labels.append(np.array(own, dtype=float).reshape(-1, 5))
    return images, labels


def arrays(images):
    """As the detector takes them: [images, 1, 3, 64, 64]."""
    return (images.astype(np.float32) / 255).transpose(0, 3, 1, 2)[:, np.newaxis]


def write_coco(folder, images, labels, sizes=None, ids=(7, 3)):
    """PNG files, of other sizes where ``sizes`` says so, and annotations in COCO's form beside them."""
    notes, files = [], []
    for number, (image, own) in enumerate(zip(images, labels, strict=True)):
        name = f"pictures/{number:04}.png"
        wide, high = sizes[number % len(sizes)] if sizes else (SIDE, SIDE)
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).resize((wide, high), Image.Resampling.NEAREST).save(path)
        files.append({"id": 1000 - number, "file_name": name, "width": wide, "height": high})
        for x1, y1, x2, y2, label in own:
            across, down = wide / SIDE, high / SIDE
            box = [x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down]
            notes.append({"image_id": 1000 - number, "category_id": ids[int(label)], "bbox": box})
    kinds = [{"id": each, "name": name} for each, name in zip(ids, ("red", "green"), strict=True)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": files, "annotations": notes, "categories": kinds}))
    return path
