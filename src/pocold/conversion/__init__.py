"""Other people's formats of networks: checkpoints of the published code (``official``), and ONNX files (``onnx``)."""
