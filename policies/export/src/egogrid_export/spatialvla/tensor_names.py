"""Names of tensors in a released SpatialVLA checkpoint, read by both the packer and the numpy reference."""

TEXT = "language_model.model"
HEAD = "language_model.lm_head.weight"
EMBEDDINGS = f"{TEXT}.embed_tokens.weight"
SPATIAL = "spatial_embed_tokens.weight"
TOWER = "vision_tower.vision_model"
POSITION_HEAD = "position_embedding_3d.position_embedding_head"
PROJECTOR = "multi_modal_projector.linear"
