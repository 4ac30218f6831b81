"""Where models come from: one small class for each kind of place, one way of copying for all."""
