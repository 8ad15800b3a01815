"""Exporter of family `openvla`: OpenVLA checkpoints in the released Hugging Face format, fused or single vision tower."""
