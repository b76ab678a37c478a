"""Settings that a format does not have are refused."""

from __future__ import annotations

import pytest

from rft.data.readers.format_options import check_options


def test_known_settings_and_none_at_all_are_fine() -> None:
    check_options({"num_options": 4}, ("num_options", "order"), "made_up")
    check_options({}, (), "made_up")


@pytest.mark.parametrize(
    ("key", "known", "message"),
    [
        (
            "num_option",
            ("num_options", "order"),
            r"'data\.options\.num_option'; did you mean data\.options\.num_options",
        ),
        ("zzz", ("num_options", "order"), "made_up has num_options, order"),
        ("zzz", (), "made_up has no options; remove it"),
    ],
)
def test_an_unknown_setting_is_refused(key: str, known: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_options({key: 4}, known, "made_up")
    assert "\n" not in str(caught.value)
