"""LLMgine: health for orchestrators."""
