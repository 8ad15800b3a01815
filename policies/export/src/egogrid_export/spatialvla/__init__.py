"""Family `spatialvla`: SigLIP + Ego3D position encoding + Gemma2, actions as three tokens per step."""
