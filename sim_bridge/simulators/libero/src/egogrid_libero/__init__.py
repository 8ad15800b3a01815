"""LIBERO as Egogrid sees it: the protocol of the official OpenVLA evaluation, to the bit of its pictures.

From: the `libero` package (robosuite 1.4, MuJoCo). To: `worker.py` here (the wire). Protocol: `run_libero_eval.py` of openvla/openvla.
"""
