"""What the files in the artifacts are called, and what tells one model from another by them."""

from collections.abc import Mapping

from poem.model_keys import ADAPTER_FILE

F16 = "model-f16.gguf"
SERVED = "model-Q4_K_M.gguf"
QUANTIZED = "model-{}.gguf"
"""Of each mixture."""
IMATRIX = "imatrix.gguf"
CHAT_TEMPLATE = "chat_template.jinja"
CREATE = "create.json"
"""The body of Ollama's create request, but for the weights."""
TOKEN_COUNTS = "token_counts.json"
"""`{"prompt": tokens of the first held-out hand's prompt, "texts": [[text, tokens], …]}`, as llama.cpp counts."""
CARD = "README.md"
"""The model card, whose head names the licence."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "*TERMS*", "USE_POLICY*")
"""What lies beside a model and has to go where its copies go."""
REGISTERED = "registered.json"
"""`{"model": its name in Ollama, "digest"}`."""


def model_digest(files: Mapping[str, str]) -> str:
    """SHA-256 of the model among the files of a stage `gguf`: the adapter's, where its base is shared."""
    return files.get(ADAPTER_FILE) or files[SERVED]
