"""Which layers cost a quantized model its signal, shown by putting them back to float."""
