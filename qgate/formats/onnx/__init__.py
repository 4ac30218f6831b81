"""ONNX files, read as data: wire format by table, tensors in place, functions inlined."""
