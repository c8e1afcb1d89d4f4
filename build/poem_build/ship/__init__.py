"""Files that are served → Ollama, images and bundles."""
