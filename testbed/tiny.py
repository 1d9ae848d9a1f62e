"""Tiny configs of the architectures in transformers, made by shrinking the fields of their default configs."""

from typing import Any

from transformers import AutoConfig, PretrainedConfig

FIELDS: dict[str, Any] = {}
"""Tiny values by field name. A field is set only if the default config of the architecture sets it."""


def _tiny(value: Any, names: str) -> None:
    FIELDS.update(dict.fromkeys(names.split(), value))


_tiny(
    99, "vocab_size vocab_size_per_layer_input text_vocab_size decoder_vocab_size unpadded_vocab_size audio_vocab_size"
)
_tiny(99, "pronunciation_vocab_size shape_vocab_size codebook_size n_token")
_tiny(
    64,
    "hidden_size d_model n_embd dim word_embed_proj_dim embedding_size embedding_dim attention_hidden_size lru_width",
)
_tiny(
    64, "hidden_size_global input_embedding_size output_embedding_size pronunciation_embed_dim shape_embed_dim emb_dim"
)
_tiny(64, "qk_hidden_size conv_dim hidden_dim mamba_intermediate_size cross_attention_hidden_size")
_tiny(
    2,
    "num_hidden_layers n_layer n_layers decoder_layers encoder_layers num_decoder_layers num_encoder_layers num_blocks",
)
_tiny(2, "num_layers depth max_window_layers num_layers_per_stack")
_tiny(4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads attention_heads")
_tiny(
    4, "num_decoder_attention_heads num_encoder_attention_heads swa_num_attention_heads index_n_heads linear_num_heads"
)
_tiny(4, "linear_num_value_heads mamba_num_heads num_query_groups")
_tiny(2, "num_key_value_heads num_kv_heads swa_num_key_value_heads linear_num_key_heads num_global_key_value_heads")
_tiny(
    16, "head_dim swa_head_dim attention_head_size dim_head linear_key_head_dim linear_value_head_dim linear_head_dim"
)
_tiny(16, "index_head_dim kv_channels d_head d_kv attention_head_dim global_head_dim swa_v_head_dim")
_tiny(96, "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim ffn_hidden_size n_inner d_ff dff dim_ff d_inner")
_tiny(96, "intermediate_size_mlp dense_intermediate_size feed_forward_size mlp_dim shared_intermediate_size")
_tiny(
    32, "moe_intermediate_size expert_ffn_hidden_size shared_expert_intermediate_size shared_experts_intermediate_size"
)
_tiny(32, "moe_shared_expert_intermediate_size router_hidden_size moe_shared_intermediate_size")
_tiny(8, "num_experts num_local_experts n_routed_experts moe_num_experts num_moe_experts")
_tiny(2, "num_experts_per_tok moe_topk moe_top_k moe_k num_experts_per_token top_k_experts moe_layer_freq_")
_tiny(
    1,
    "n_group topk_group num_expert_group n_shared_experts num_shared_experts first_k_dense_replace",
)
_tiny(1, "num_kv_shared_layers num_dense_layers n_groups mamba_n_groups mamba_ngroups")
_tiny(
    16,
    "kv_lora_rank q_lora_rank qk_nope_head_dim v_head_dim qk_head_dim_ o_lora_rank laurel_rank adapter_rank hc_lowrank",
)
_tiny(8, "qk_rope_head_dim rotary_dim d_rel gated_norm_rank hidden_size_per_layer_input ple_embed_dim")
_tiny(
    256, "max_position_embeddings n_positions max_sequence_length max_seq_len n_ctx context_length max_target_positions"
)
_tiny(256, "original_max_position_embeddings rel_extent")
_tiny(8, "sliding_window attention_window_size sliding_window_size attention_chunk_size window_size local_attention")
_tiny(8, "index_topk chunk_size mamba_chunk_size block_size keep_window_size conv_L_cache_")
_tiny(16, "mamba_d_state state_size ssm_state_size mamba_dt_rank time_step_rank num_mel_bins")
_tiny(0, "pad_token_id bos_token_id eos_token_id decoder_start_token_id")

DROPPED = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers", "moe_layers", "indexer_types")
DROPPED += ("hybrid_layer_ids", "full_attn_idxs", "layer_rope_theta", "num_attention_heads_per_layer", "attn_layers")
"""Lists with one entry per layer; the config recreates them for fewer layers."""

OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16, "time_step_limit": [0.0, 1e9]},
    "bailing_hybrid": {"layer_group_size": 2, "num_hidden_layers": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_head": 16,
                         "time_step_limit": [0.0, 1e9]},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "falcon_h1": {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_ssm": 128, "time_step_limit": [0.0, 1e9]},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "mlp"], "num_hidden_layers": 4,
                   "mamba_head_dim": 16, "mamba_num_heads": 8, "time_step_limit": [0.0, 1e9]},
    "mamba2": {"num_heads": 8, "head_dim": 16, "time_step_limit": [0.0, 1e9]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ["global", "local"]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2},
    "ministral": {"head_dim": 16},
    "nemotron": {"head_dim": 16, "num_key_value_heads": 2},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "deepseek_v2": {"n_routed_experts": 8, "num_experts_per_tok": 2},
    "gemma4_text": {"num_kv_shared_layers": 0},
    "gemma4_unified_text": {"num_kv_shared_layers": 0},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0},
             "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 96, "moe_num_experts": 8, "moe_top_k": 2}},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "big_bird": {"attention_type": "original_full"},  # its own choice for such a short prompt
    "mpt": {"use_cache": True},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_moe_text": {"layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "zaya": {"num_experts_per_tok": 1},
    "xmod": {"default_language": "en_XX"},
    "dots3_note_text": {"head_dim": 24},
    "reformer": {"axial_pos_embds_dim": [32, 32], "axial_pos_shape": [16, 16], "attn_layers": ["local", "lsh"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
}  # fmt: skip
"""Further fields by architecture."""


def tiny_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The given config fields with tiny values, including those of nested configs."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name.endswith(("_config", "text_encoder", "audio_encoder", "decoder")):
            fields[name] = (
                {"model_type": value["model_type"], **tiny_fields(value)}
                if value.get("model_type")
                else tiny_fields(value)
            )
        elif name in FIELDS and (value is not None or name.endswith("token_id")):
            fields[name] = FIELDS[name]
    if values.get("kv_lora_rank"):  # with MLA, head_dim is only the rotated part
        fields |= {"num_key_value_heads": 4, "head_dim": 8, "qk_head_dim": 24}
    return {name: value for name, value in fields.items() if name in values}


def tiny(model_type: str, **overrides: Any) -> PretrainedConfig:
    """A config of an architecture with a few thousand parameters.

    Args:
        model_type: the architecture.
        overrides: fields of the config to set.
    """
    base = AutoConfig.for_model(model_type).to_dict()
    fields = tiny_fields(base)
    if "is_decoder" in base:  # configure encoders as decoders
        fields["is_decoder"] = True
    return AutoConfig.for_model(model_type, **{**fields, **OVERRIDES.get(model_type, {}), **overrides})


NOT_TINY = {
    "blt": "its patcher's tables of hashes have no tiny size",
    "cohere_compass_text": "needs a rotary embedding for each type of layer",
    "dots3_note": "only its text model is compared",
    "gemma3n": "its vision tower needs timm",
    "gemma4": "its towers' validators tie sizes together",
    "gemma4_assistant": "drafts for another model",
    "gemma4_unified": "its towers' validators tie sizes together",
    "gemma4_unified_assistant": "drafts for another model",
    "hrm_text": "its stacks have no tiny size",
    "moshi": "speech",
    "musicgen": "music",
    "musicgen_melody": "music",
    "qwen3_5": "only its text model is compared",
    "qwen3_5_moe": "only its text model is compared",
    "qwen4_exp": "its n-gram tables have no tiny size",
    "qwen4_exp_text": "its n-gram tables have no tiny size",
    "xlstm": "its heads have no tiny size",
    "zamba": "ties weights over a fixed pattern of layers",
    "zamba2": "ties weights over a fixed pattern of layers",
}
"""Architectures without a tiny config, and why; they are not compared with a real run."""
