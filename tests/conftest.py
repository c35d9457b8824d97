"""What all tests share: how Hypothesis runs, and the fixtures that our users have, too."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["trio_chat.testing"]

# How fast this machine is today is no property of the code: no deadline, no check for slowness.
# Under CI the same examples each time, so that a change is judged by what it changes; elsewhere
# others each time, which finds more.
settings.register_profile(
    "anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("anywhere"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "anywhere")
