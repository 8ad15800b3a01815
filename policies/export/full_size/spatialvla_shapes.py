"""Names and shapes of every tensor of a released SpatialVLA checkpoint, from its `config.json`.

Those of the released 4B model add up to the 8,055,709,462 bytes that its index states; `random_checkpoint.py` checks that.
"""

from __future__ import annotations

from typing import Any

Shapes = dict[str, tuple[int, ...]]


def shapes(config: dict[str, Any], spatial_tokens: int) -> Shapes:
    text, vision = config["text_config"], config["vision_config"]
    return {
        **_language(text, spatial_tokens),
        **_siglip(vision, text["hidden_size"], config),
        **_zoe(config["vision_zoe_config"]),
    }


def _linear(at: str, outputs: int, inputs: int) -> Shapes:
    return {f"{at}.weight": (outputs, inputs), f"{at}.bias": (outputs,)}


def _norm(at: str, width: int) -> Shapes:
    return {f"{at}.weight": (width,), f"{at}.bias": (width,)}


def _conv(at: str, outputs: int, inputs: int, side: int) -> Shapes:
    return {f"{at}.weight": (outputs, inputs, side, side), f"{at}.bias": (outputs,)}


def _language(text: dict[str, Any], spatial_tokens: int) -> Shapes:
    width, mlp, table = text["hidden_size"], text["intermediate_size"], (text["vocab_size"], text["hidden_size"])
    # What the file leaves out has the defaults of Gemma2Config.
    head_dim = text.get("head_dim", 256)
    inner, kv = text.get("num_attention_heads", 8) * head_dim, text["num_key_value_heads"] * head_dim
    found: Shapes = {
        "language_model.lm_head.weight": table,
        "language_model.model.embed_tokens.weight": table,
        "language_model.model.norm.weight": (width,),
        "spatial_embed_tokens.weight": (spatial_tokens, width),
    }
    for layer in range(text["num_hidden_layers"]):
        at = f"language_model.model.layers.{layer}"
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            found[f"{at}.{norm}_layernorm.weight"] = (width,)
        for name, shape in (("q", (inner, width)), ("k", (kv, width)), ("v", (kv, width)), ("o", (width, inner))):
            found[f"{at}.self_attn.{name}_proj.weight"] = shape
        for name, shape in (("gate", (mlp, width)), ("up", (mlp, width)), ("down", (width, mlp))):
            found[f"{at}.mlp.{name}_proj.weight"] = shape
    return found


def _siglip(vision: dict[str, Any], text_width: int, config: dict[str, Any]) -> Shapes:
    width, mlp, tower = vision["hidden_size"], vision["intermediate_size"], "vision_tower.vision_model"
    found = {
        **_conv(f"{tower}.embeddings.patch_embedding", width, 3, vision["patch_size"]),
        f"{tower}.embeddings.position_embedding.weight": (vision["num_positions"], width),
        **_norm(f"{tower}.post_layernorm", width),
        **_linear("multi_modal_projector.linear", text_width, width),
    }
    encoding = config["ego3d_patch_reso"] ** 2 * 3 * (1 + 2 * config["n_freqs"])
    head = "position_embedding_3d.position_embedding_head"
    found |= _linear(f"{head}.0", width, encoding) | _norm(f"{head}.1", width) | _linear(f"{head}.3", width, width)
    for layer in range(vision["num_hidden_layers"]):
        at = f"{tower}.encoder.layers.{layer}"
        found |= _norm(f"{at}.layer_norm1", width) | _norm(f"{at}.layer_norm2", width)
        for name in ("q", "k", "v", "out"):
            found |= _linear(f"{at}.self_attn.{name}_proj", width, width)
        found |= _linear(f"{at}.mlp.fc1", mlp, width) | _linear(f"{at}.mlp.fc2", width, mlp)
    return found


def _zoe(zoe: dict[str, Any]) -> Shapes:
    return _beit(zoe["backbone_config"]) | _neck(zoe) | _relative_head(zoe) | _metric_head(zoe)


def _beit(beit: dict[str, Any]) -> Shapes:
    width, mlp, backbone = beit["hidden_size"], beit["intermediate_size"], "vision_zoe_model.backbone"
    grid = beit["image_size"] // beit["patch_size"]
    found: Shapes = {
        f"{backbone}.embeddings.cls_token": (1, 1, width),
        **_conv(f"{backbone}.embeddings.patch_embeddings.projection", width, 3, beit["patch_size"]),
    }
    for layer in range(beit["num_hidden_layers"]):
        at = f"{backbone}.encoder.layer.{layer}"
        inner = f"{at}.attention.attention"
        found |= _linear(f"{inner}.query", width, width) | _linear(f"{inner}.value", width, width)
        found[f"{inner}.key.weight"] = (width, width)
        table = ((2 * grid - 1) ** 2 + 3, beit["num_attention_heads"])
        found[f"{inner}.relative_position_bias.relative_position_bias_table"] = table
        found |= _linear(f"{at}.attention.output.dense", width, width)
        found |= _linear(f"{at}.intermediate.dense", mlp, width) | _linear(f"{at}.output.dense", width, mlp)
        found |= _norm(f"{at}.layernorm_before", width) | _norm(f"{at}.layernorm_after", width)
        found |= {f"{at}.lambda_1": (width,), f"{at}.lambda_2": (width,)}
    return found


def _neck(zoe: dict[str, Any]) -> Shapes:
    width, fusion, neck = zoe["backbone_config"]["hidden_size"], zoe["fusion_hidden_size"], "vision_zoe_model.neck"
    found: Shapes = {}
    for level, (size, factor) in enumerate(zip(zoe["neck_hidden_sizes"], zoe["reassemble_factors"], strict=True)):
        found |= _linear(f"{neck}.reassemble_stage.readout_projects.{level}.0", width, 2 * width)
        at = f"{neck}.reassemble_stage.layers.{level}"
        found |= _conv(f"{at}.projection", size, width, 1)
        if factor != 1:
            found |= _conv(f"{at}.resize", size, size, int(factor) if factor > 1 else 3)
        found[f"{neck}.convs.{level}.weight"] = (fusion, size, 3, 3)
        at = f"{neck}.fusion_stage.layers.{level}"
        found |= _conv(f"{at}.projection", fusion, fusion, 1)
        for residual in ("residual_layer1", "residual_layer2"):
            for number in (1, 2):
                found |= _conv(f"{at}.{residual}.convolution{number}", fusion, fusion, 3)
    return found


def _relative_head(zoe: dict[str, Any]) -> Shapes:
    fusion, features, head = zoe["fusion_hidden_size"], zoe["num_relative_features"], "vision_zoe_model.relative_head"
    return _conv(f"{head}.conv1", fusion // 2, fusion, 3) | _conv(f"{head}.conv2", features, fusion // 2, 3) | _conv(f"{head}.conv3", 1, features, 1)


def _metric_head(zoe: dict[str, Any]) -> Shapes:
    head, bottleneck, fusion = "vision_zoe_model.metric_head", zoe["bottleneck_features"], zoe["fusion_hidden_size"]
    embedding, mlp, width = zoe["bin_embedding_dim"], zoe["bin_embedding_dim"] // 2, zoe["patch_transformer_hidden_size"]
    found = _conv(f"{head}.conv2", bottleneck, bottleneck, 1)
    found |= _conv(f"{head}.patch_transformer.embedding_convPxP", width, bottleneck, 1)
    for layer in range(zoe["num_patch_transformer_layers"]):
        at = f"{head}.patch_transformer.transformer_encoder.{layer}"
        inner = zoe["patch_transformer_intermediate_size"]
        found |= _linear(f"{at}.linear1", inner, width) | _linear(f"{at}.linear2", width, inner)
        found |= _norm(f"{at}.norm1", width) | _norm(f"{at}.norm2", width)
        for name in ("query", "key", "value", "out_proj"):
            found |= _linear(f"{at}.self_attn.{name}", width, width)
    found |= _linear(f"{head}.mlp_classifier.linear1", width, width) | _linear(f"{head}.mlp_classifier.linear2", 2, width)
    for at, inputs in (("seed_projector", bottleneck), *((f"projectors.{level}", fusion) for level in range(4))):
        found |= _conv(f"{head}.{at}.conv1", mlp, inputs, 1) | _conv(f"{head}.{at}.conv2", embedding, mlp, 1)
    attractors = zoe["num_attractors"][0]
    for configuration in zoe["bin_configurations"]:
        name, bins = configuration["name"], configuration["n_bins"]
        at = f"{head}.seed_bin_regressors.{name}"
        found |= _conv(f"{at}.conv1", mlp, bottleneck, 1) | _conv(f"{at}.conv2", bins, mlp, 1)
        for level in range(4):
            at = f"{head}.attractors.{name}.{level}"
            found |= _conv(f"{at}.conv1", embedding, embedding, 1) | _conv(f"{at}.conv2", attractors, embedding, 1)
        at, features = f"{head}.conditional_log_binomial.{name}.mlp", zoe["num_relative_features"] + embedding
        found |= _conv(f"{at}.0", features // 4, features, 1) | _conv(f"{at}.2", 4, features // 4, 1)
    return found
