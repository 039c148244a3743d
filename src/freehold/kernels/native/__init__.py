"""Native kernels for Linux on x86-64: matrix products and whole decoder layers in C++, from `cpp/`.

Optional: where they are absent, PyTorch does the same work (`freehold.kernels`). They exist for two things: a row's
result has the same bits in any batch, and a step is one call, whereas in PyTorch a small model's step is mostly the
time between operations.

- `build.py` compiles them, `library.py` opens the best that this processor can run;
- `linear.py` is their form of a matrix product, `decoder.py` that of all layers.
"""
