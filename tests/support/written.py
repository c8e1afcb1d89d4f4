"""Values as they are found written, and what was meant: settings, scripts and Compose are held to the same list."""

WRITTEN = [
    ("3002", "3002"),
    (" 3002 ", "3002"),
    ('"3002"', "3002"),
    ("'3002'", "3002"),
    ("3002 # the port", "3002"),
    ('"3002" # the port', "3002"),
    ("3002\r", "3002"),
    ("'a # b'", "a # b"),
    ("a#b", "a#b"),
    ("# nothing", ""),
    ("", ""),
    ("“3002”", "3002"),
    ("\ufeff3002", "3002"),
    ('"unclosed', '"unclosed'),
    ('"a" b', '"a" b'),
]
