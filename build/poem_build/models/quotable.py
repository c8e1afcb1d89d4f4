"""A text → whether a Modelfile can carry it: nothing can be escaped between its triple quotes."""


def unquotable(text: str) -> str:
    """What a Modelfile does to the text, and the remedy; empty where it leaves it as it is.

    Ollama's parser drops whatever does not print, U+3000 among it.
    """
    if '"""' in text or text.endswith('"'):
        return "a Modelfile cannot quote it; take the quotes out"
    if lost := next((c for c in text if not c.isprintable() and c != "\n"), None):
        return f"a Modelfile loses {lost!r}; replace it"
    return ""
