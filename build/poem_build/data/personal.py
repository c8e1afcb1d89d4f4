"""A text → what in it may be about a person: mail addresses, telephone numbers, My Numbers."""

import re
import unicodedata
from collections.abc import Iterator

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_TWELVE = re.compile(r"(?<!\d)\d{4}[ -]?\d{4}[ -]?\d{4}(?!\d)", re.ASCII)


def personal(text: str) -> Iterator[tuple[str, str]]:
    """What was found, and of which kind. Full-width digits are read as the others are."""
    import phonenumbers
    from stdnum.jp import in_

    plain = unicodedata.normalize("NFKC", text)
    yield from (("mail address", found) for found in _MAIL.findall(plain))
    yield from (("My Number", found) for found in _TWELVE.findall(plain) if in_.is_valid(found))
    for match in phonenumbers.PhoneNumberMatcher(plain, "JP"):
        yield "telephone number", match.raw_string
