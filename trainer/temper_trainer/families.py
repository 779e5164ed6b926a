"""The model families that can be tuned: for each `model_type` of config.json, the linear layers of a block that get LoRA."""

ATTENTION = ['q_proj', 'k_proj', 'v_proj', 'o_proj']
GATED_MLP = ['gate_proj', 'up_proj', 'down_proj']

TARGET_MODULES: dict[str, list[str]] = {
    'llama': ATTENTION + GATED_MLP,  # Llama, DeepSeek-Coder v1, Yi, SmolLM
    'mistral': ATTENTION + GATED_MLP,
    'mixtral': ATTENTION,  # the experts are one fused tensor, which few loaders of adapters can read
    'qwen2': ATTENTION + GATED_MLP,  # Qwen 1.5, 2, 2.5, CodeQwen
    'gemma': ATTENTION + GATED_MLP,
    'starcoder2': [*ATTENTION, 'c_fc', 'c_proj'],
    'stablelm': ATTENTION + GATED_MLP,
    'phi': ['q_proj', 'k_proj', 'v_proj', 'dense', 'fc1', 'fc2'],
    'gpt_neox': ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'],
    # Attention with a compressed cache; which of the query's layers exist depends on the size of the model.
    'deepseek_v2': ['q_proj', 'q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'kv_b_proj', 'o_proj'],
}

# The experts of these are one fused tensor a block, which bitsandbytes leaves in 16 bits: NF4 would save next to nothing.
WITH_FUSED_EXPERTS = {'mixtral', 'deepseek_v2'}
