"""What all tests share: how Hypothesis runs."""

import os

from hypothesis import settings

# No deadline: an example's time is the machine's affair. Under CI the same examples each time, so
# that a change is judged by what it changes; elsewhere others each time, which finds more.
settings.register_profile("anywhere", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "anywhere")
