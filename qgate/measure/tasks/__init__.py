"""What models are for: each task keeps a small record a sample and makes paired figures of them."""
