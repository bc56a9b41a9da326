"""From a screenshot's bytes to the arrays that `vision.onnx` reads, as transformers makes them.

`images` opens the bytes safely; `patches` (the Qwen families) and `tiles` (mllama) cut the picture.
Value for value they are what transformers 5.24 gives with its PIL image processors.
"""
