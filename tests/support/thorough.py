"""How often something is tried: a few times by `make test`, and as often as is promised by `make test-release`."""

import hypothesis


def tries(usual, promised):
    """The number of tries under Hypothesis's profile: `promised` where it is the thorough one."""
    is_thorough = hypothesis.settings.default.max_examples >= hypothesis.settings.get_profile("thorough").max_examples
    return promised if is_thorough else usual
