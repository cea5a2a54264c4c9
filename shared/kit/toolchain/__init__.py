"""Sony's IMX500 converter in an environment of its own: where it lies, how it gets there, whether it is whole.

It cannot share our environment (it pins older onnx, onnxruntime and protobuf), it is proprietary and is never vendored: the
user's own set-up installs it from the package registry.
"""
