"""From a float network to one of 8-bit numbers: for the sensor with Sony's toolkit, for CPUs with ONNX Runtime's quantizer."""
