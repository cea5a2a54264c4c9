"""From a quantized network to what a camera installs."""
