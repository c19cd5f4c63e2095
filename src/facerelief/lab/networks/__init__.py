"""The three networks of Guo et al. (TPAMI 2019): their layers, losses, data, training and export to ONNX.

The only room that imports torch, and only in its modules: importing the room itself imports nothing.
"""
