from hypothesis import given
from hypothesis import strategies as st

from workers.records.text import one_line, printable, shortened

ANY = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs too


@given(ANY)
def test_printable_text_is_valid_unicode_without_control_characters(text: str) -> None:
    escaped = printable(text)
    assert escaped.encode() == printable(escaped).encode()
    assert all(character.isprintable() or character.isspace() or ord(character) > 0x9F for character in escaped)


@given(ANY)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(), st.integers(100, 200))
def test_shortened_text_keeps_both_ends_and_is_not_shortened_again(text: str, characters: int) -> None:
    longer = "begin" + text * 100 + "end"
    short = shortened(longer, characters)
    assert len(short) <= characters
    assert short.startswith("begin")
    assert short.endswith("end")
    assert shortened(short, characters) == short


def test_shortened_text_states_how_many_characters_are_left_out() -> None:
    assert shortened("a" * 1000, 100).count("a") - "characters".count("a") == 40
    assert " [... 960 characters left out ...] " in shortened("a" * 1000, 100)
