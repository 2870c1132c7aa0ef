"""Text encoders: from a Hugging Face or sentence-transformers directory to the files of the `text_encoder` backend."""
