"""What each quantized operator stands for in the float view, one module for each family."""
