"""IDFSR: personalised face super-resolution with identity decoupling and fitting. Knows nothing of ComfyUI.

Importing this package imports nothing heavy: torch, diffusers, insightface and onnxruntime wait until they are used.
"""

__version__ = "0.1.0"
