"""LiteRT models (.tflite): a FlatBuffer read with every offset checked, nothing of it executed."""
