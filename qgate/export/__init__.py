"""From a quantized PyTorch model to an ONNX file that computes the same."""
