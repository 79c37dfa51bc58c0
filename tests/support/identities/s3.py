"""Ways to sign in at S3."""

from tests.support.identities import Row

ROWS = (
    Row(
        "s3",
        "keys of the environment",
        "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`",
        "both",
        "moto, with a relay that keeps each request",
        "scenarios/test_sdk_environment.py::test_keys_of_the_environment_are_found",
    ),
)
