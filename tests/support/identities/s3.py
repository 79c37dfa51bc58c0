"""Ways to sign in at S3."""

from tests.support.identities import Row

_TEST = "scenarios/test_s3_identities.py"
_RIGHT = f"{_TEST}::test_the_right_proof_fetches_and_a_wrong_one_says_which_was_tried"
_RELAY = "an S3 that recomputes each signature"


def _row(way: str, reads: str, server: str = _RELAY, test: str = _RIGHT) -> Row:
    return Row("s3", way, reads, "both", server, test)


ROWS = (
    _row("keys of the task", "`access_key_id`, `secret_key`, or their files"),
    _row("session token of the task", "and `session_token`, or its file"),
    _row(
        "keys of the environment",
        "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`",
    ),
    _row(
        "profile with keys",
        "`profile` or `AWS_PROFILE`; `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`",
    ),
    _row(
        "profile with a program",
        "`credential_process` of the profile",
        "a program that asks a service with a token",
    ),
    _row(
        "profile with an SSO login",
        "`sso_session` of the profile, and the cache of `aws sso login`",
        "a portal that checks the login's token",
    ),
    _row(
        "web identity (IRSA)",
        "`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, `AWS_ROLE_SESSION_NAME`",
        "an STS that checks the token and the role",
    ),
    _row(
        "container (ECS, EKS pod identity)",
        "`AWS_CONTAINER_CREDENTIALS_FULL_URI` or `_RELATIVE_URI`, "
        "`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` or `_TOKEN`",
        "an endpoint that checks the token",
    ),
    _row(
        "instance metadata v2",
        "`AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AWS_METADATA_SERVICE_TIMEOUT` and the like",
        "an endpoint that wants the token of its PUT",
    ),
    _row(
        "role, with keys of the task",
        "`role_arn`, `external_id`, `role_session_name`",
        "an STS that checks signature, role and external ID",
    ),
    Row(
        "s3",
        "key of the customer (SSE-C)",
        "`customer_key`, or its file, beside any of these",
        "fsspec",
        "an S3 that wants the key's signed headers",
        "scenarios/test_customer_key.py::"
        "test_the_key_is_sent_for_each_object_and_its_etag_is_no_md5",
    ),
    _row(
        "role, with what is found",
        "the same, with any of the above",
        "the same, with a web identity",
    ),
)
