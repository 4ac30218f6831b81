"""What a runtime that the model is meant for would do with it, told from the file alone."""
