"""What the files in the artifacts are called."""

F16 = "model-f16.gguf"
SERVED = "model-Q4_K_M.gguf"
IMATRIX = "imatrix.gguf"
CHAT_TEMPLATE = "chat_template.jinja"
CREATE = "create.json"
"""The body of Ollama's create request, but for the weights."""
TOKEN_COUNTS = "token_counts.json"
"""`{"prompt": tokens of the first held-out hand's prompt, "texts": [[text, tokens], …]}`, as llama.cpp counts."""
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "*TERMS*", "USE_POLICY*")
"""What lies beside a model and has to go where its copies go."""
REGISTERED = "registered.json"
"""`{"model": its name in Ollama, "digest"}`."""
