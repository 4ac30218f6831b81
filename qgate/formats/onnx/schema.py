"""The fields of an ONNX file, as ``onnx.proto`` defines them (IR version 14), and what each costs to keep.

A file that holds a field that is not listed here is refused. The tests compare the table with the
descriptors of the installed onnx, so that a new version of the format is noticed.
"""

from __future__ import annotations

from qgate.formats.wire import BYTES, FLOAT, INT, INT32, MESSAGE, RANGE, STRING, TEXT, Field

# Bytes that the record made of a message takes with its share of dicts and tuples, measured.
_COSTS = {
    "NodeProto": 760, "AttributeProto": 320, "TensorProto": 1100, "GraphProto": 1800, "ValueInfoProto": 560,
    "FunctionProto": 1500, "TypeProto": 320, "Tensor": 260, "TensorShapeProto": 260, "Dimension": 260,
}  # fmt: skip
_OTHER_COST = 260


def _many(name: str, kind: int, message: str = "") -> Field:
    return _one(name, kind, message, repeated=True)


def _one(name: str, kind: int, message: str = "", *, choice: str = "", repeated: bool = False) -> Field:
    cost = _COSTS.get(message, _OTHER_COST) if kind == MESSAGE else 0
    return Field(name, kind, repeated=repeated, message=message, choice=choice, cost=cost)


_METADATA = _many("metadata_props", MESSAGE, "StringStringEntryProto")

SCHEMA: dict[str, dict[int, Field]] = {
    "ModelProto": {
        1: _one("ir_version", INT),
        2: _one("producer_name", STRING),
        3: _one("producer_version", STRING),
        4: _one("domain", STRING),
        5: _one("model_version", INT),
        6: _one("doc_string", TEXT),
        7: _one("graph", MESSAGE, "GraphProto"),
        8: _many("opset_import", MESSAGE, "OperatorSetIdProto"),
        14: _METADATA,
        20: _many("training_info", MESSAGE, "TrainingInfoProto"),
        25: _many("functions", MESSAGE, "FunctionProto"),
        26: _many("configuration", MESSAGE, "DeviceConfigurationProto"),
    },
    "OperatorSetIdProto": {1: _one("domain", STRING), 2: _one("version", INT)},
    "StringStringEntryProto": {1: _one("key", STRING), 2: _one("value", STRING)},
    "GraphProto": {
        1: _many("node", MESSAGE, "NodeProto"),
        2: _one("name", STRING),
        5: _many("initializer", MESSAGE, "TensorProto"),
        10: _one("doc_string", TEXT),
        11: _many("input", MESSAGE, "ValueInfoProto"),
        12: _many("output", MESSAGE, "ValueInfoProto"),
        13: _many("value_info", MESSAGE, "ValueInfoProto"),
        14: _many("quantization_annotation", MESSAGE, "TensorAnnotation"),
        15: _many("sparse_initializer", MESSAGE, "SparseTensorProto"),
        16: _METADATA,
    },
    "NodeProto": {
        1: _many("input", STRING),
        2: _many("output", STRING),
        3: _one("name", STRING),
        4: _one("op_type", STRING),
        5: _many("attribute", MESSAGE, "AttributeProto"),
        6: _one("doc_string", TEXT),
        7: _one("domain", STRING),
        8: _one("overload", STRING),
        9: _METADATA,
        10: _many("device_configurations", MESSAGE, "NodeDeviceConfigurationProto"),
    },
    "AttributeProto": {
        1: _one("name", STRING),
        2: _one("f", FLOAT),
        3: _one("i", INT),
        4: _one("s", BYTES),
        5: _one("t", MESSAGE, "TensorProto"),
        6: _one("g", MESSAGE, "GraphProto"),
        7: _many("floats", FLOAT),
        8: _many("ints", INT),
        9: _many("strings", BYTES),
        10: _many("tensors", MESSAGE, "TensorProto"),
        11: _many("graphs", MESSAGE, "GraphProto"),
        13: _one("doc_string", TEXT),
        14: _one("tp", MESSAGE, "TypeProto"),
        15: _many("type_protos", MESSAGE, "TypeProto"),
        20: _one("type", INT32),
        21: _one("ref_attr_name", STRING),
        22: _one("sparse_tensor", MESSAGE, "SparseTensorProto"),
        23: _many("sparse_tensors", MESSAGE, "SparseTensorProto"),
    },
    "TensorProto": {
        1: _many("dims", INT),
        2: _one("data_type", INT32),
        3: _one("segment", MESSAGE, "Segment"),
        # Packed numbers: one chunk, which is not decoded before it is asked for.
        4: _one("float_data", RANGE),
        5: _one("int32_data", RANGE),
        6: _many("string_data", BYTES),
        7: _one("int64_data", RANGE),
        8: _one("name", STRING),
        9: _one("raw_data", RANGE),
        10: _one("double_data", RANGE),
        11: _one("uint64_data", RANGE),
        12: _one("doc_string", TEXT),
        13: _many("external_data", MESSAGE, "StringStringEntryProto"),
        14: _one("data_location", INT32),
        16: _METADATA,
    },
    "Segment": {1: _one("begin", INT), 2: _one("end", INT)},
    "SparseTensorProto": {
        1: _one("values", MESSAGE, "TensorProto"),
        2: _one("indices", MESSAGE, "TensorProto"),
        3: _many("dims", INT),
    },
    "ValueInfoProto": {
        1: _one("name", STRING),
        2: _one("type", MESSAGE, "TypeProto"),
        3: _one("doc_string", TEXT),
        4: _METADATA,
    },
    "TypeProto": {
        1: _one("tensor_type", MESSAGE, "Tensor", choice="#value"),
        4: _one("sequence_type", MESSAGE, "Sequence", choice="#value"),
        5: _one("map_type", MESSAGE, "Map", choice="#value"),
        6: _one("denotation", STRING),
        7: _one("opaque_type", MESSAGE, "Opaque", choice="#value"),
        8: _one("sparse_tensor_type", MESSAGE, "SparseTensor", choice="#value"),
        9: _one("optional_type", MESSAGE, "Optional", choice="#value"),
    },
    "Tensor": {1: _one("elem_type", INT32), 2: _one("shape", MESSAGE, "TensorShapeProto")},
    "SparseTensor": {1: _one("elem_type", INT32), 2: _one("shape", MESSAGE, "TensorShapeProto")},
    "Sequence": {1: _one("elem_type", MESSAGE, "TypeProto")},
    "Optional": {1: _one("elem_type", MESSAGE, "TypeProto")},
    "Map": {1: _one("key_type", INT32), 2: _one("value_type", MESSAGE, "TypeProto")},
    "Opaque": {1: _one("domain", STRING), 2: _one("name", STRING)},
    "TensorShapeProto": {1: _many("dim", MESSAGE, "Dimension")},
    "Dimension": {
        1: _one("dim_value", INT, choice="#value"),
        2: _one("dim_param", STRING, choice="#value"),
        3: _one("denotation", STRING),
    },
    "TensorAnnotation": {
        1: _one("tensor_name", STRING),
        2: _many("quant_parameter_tensor_names", MESSAGE, "StringStringEntryProto"),
    },
    "TrainingInfoProto": {
        1: _one("initialization", MESSAGE, "GraphProto"),
        2: _one("algorithm", MESSAGE, "GraphProto"),
        3: _many("initialization_binding", MESSAGE, "StringStringEntryProto"),
        4: _many("update_binding", MESSAGE, "StringStringEntryProto"),
    },
    "FunctionProto": {
        1: _one("name", STRING),
        4: _many("input", STRING),
        5: _many("output", STRING),
        6: _many("attribute", STRING),
        7: _many("node", MESSAGE, "NodeProto"),
        8: _one("doc_string", TEXT),
        9: _many("opset_import", MESSAGE, "OperatorSetIdProto"),
        10: _one("domain", STRING),
        11: _many("attribute_proto", MESSAGE, "AttributeProto"),
        12: _many("value_info", MESSAGE, "ValueInfoProto"),
        13: _one("overload", STRING),
        14: _METADATA,
    },
    "DeviceConfigurationProto": {
        1: _one("name", STRING),
        2: _one("num_devices", INT32),
        3: _many("device", STRING),
    },
    "NodeDeviceConfigurationProto": {
        1: _one("configuration_id", STRING),
        2: _many("sharding_spec", MESSAGE, "ShardingSpecProto"),
        3: _one("pipeline_stage", INT32),
    },
    "ShardingSpecProto": {
        1: _one("tensor_name", STRING),
        2: _many("device", INT),
        3: _many("index_to_device_group_map", MESSAGE, "IntIntListEntryProto"),
        4: _many("sharded_dim", MESSAGE, "ShardedDimProto"),
    },
    "IntIntListEntryProto": {1: _one("key", INT), 2: _many("value", INT)},
    "ShardedDimProto": {
        1: _one("axis", INT),
        2: _many("simple_sharding", MESSAGE, "SimpleShardedDimProto"),
    },
    "SimpleShardedDimProto": {
        1: _one("dim_value", INT, choice="#dim"),
        2: _one("dim_param", STRING, choice="#dim"),
        3: _one("num_shards", INT),
    },
}
