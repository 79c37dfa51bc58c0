"""What the services' error codes say, in any spelling; and what of a code a message shows."""

from __future__ import annotations

import json

import pytest

from kaiwo.net.codes import LONGEST_CODE, Meaning, clean, clean_region, code_in, meaning

SAID = {
    # S3, AWS in general, OSS, COS, OBS, TOS; GCS; Azure; B2.
    Meaning.BUSY: """
        SlowDown Throttling ThrottlingException ThrottledException Throttling.User Throttling.Api
        RequestThrottled RequestThrottledException RequestLimitExceeded LimitExceededException
        RequestLimitExceeded.IPLimitExceeded BandwidthLimitExceeded TooManyRequests
        TooManyRequestsException too_many_requests ProvisionedThroughputExceededException
        PriorRequestNotComplete EC2ThrottledException QpsLimitExceeded TotalQpsLimitExceeded
        DownloadTrafficRateLimitExceeded ExceedQPSLimit ExceedBandwidthLimit RequestRateTooLarge
        rateLimitExceeded userRateLimitExceeded RESOURCE_EXHAUSTED concurrentRequestsLimitExceeded
        ServerBusy ServiceBusy ServiceUnavailable TooManyConnections
        """,
    Meaning.FAILING: """
        InternalError InternalServerError InternalFailure internalError RequestTimeout
        RequestTimeoutException OperationTimedOut backendError OperationAborted request_timeout
        Unavailable InternalError.Timeout GatewayTimeout DatabaseTimeout TryAgain
        KMS.UnavailableException AccountBeingCreated
        """,
    Meaning.QUOTA: """
        quotaExceeded dailyLimitExceeded download_cap_exceeded UserQuotaExceeded
        InArrearOrInsufficientBalance
        """,
    Meaning.CLOCK: """
        RequestTimeTooSkewed requestTimeTooSkewed RequestExpired AuthFailure.SignatureExpire
        SignatureExpired ClockSkewDetected
        """,
    Meaning.EXPIRED: """
        ExpiredToken ExpiredTokenException TokenExpired TokenRefreshRequired SecurityTokenExpired
        InvalidSecurityToken.Expired ExpiredAuthenticationToken expired_auth_token
        """,
    Meaning.ADDRESSING: """
        SecondLevelDomainForbidden PathStyleDomainForbidden InvalidPathAccess
        VirtualHostDomainRequired
        """,
    Meaning.REGION: """
        AuthorizationHeaderMalformed PermanentRedirect TemporaryRedirect InvalidRegion
        IllegalLocationConstraintException
        """,
    Meaning.REFUSED: """
        AccessDenied AccessDeniedException InvalidAccessKeyId
        AuthFailure.SignatureFailure AuthenticationFailed InvalidToken UnauthorizedOperation
        UnrecognizedClientException
        """,
    Meaning.SIGNATURE: "SignatureDoesNotMatch IncompleteSignatureException",
    Meaning.ARCHIVED: "InvalidObjectState BlobArchived BlobBeingRehydrated",
    Meaning.UNSUPPORTED: "NotImplemented",
    Meaning.MISSING: "NoSuchKey NoSuchVersion",
    Meaning.CONTAINER_MISSING: "NoSuchBucket ContainerNotFound FilesystemNotFound",
    None: """
        InvalidRequest InvalidArgument InvalidBucketName InvalidRange PreconditionFailed
        KeyTooLongError EntityTooLarge MaxMessageLengthExceeded MetadataTooLarge InvalidDigest
        ConditionNotMet BlobNotFound TooManyBuckets UnavailableForLegalReasons MethodNotAllowed
        """,
}


@pytest.mark.parametrize(
    ("said", "code"), [(said, code) for said, codes in SAID.items() for code in codes.split()]
)
def test_a_code_says_what_its_words_say(said: Meaning | None, code: str) -> None:
    assert meaning(code) is said


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (" Throttling.User\n", "Throttling.User"),
        ("x-y:Z_1", "x-y:Z_1"),
        ("A" * 500, "A" * LONGEST_CODE),
        ("403", ""),
        ("", ""),
        ("two words", ""),
        ("\x1b[31mRed", ""),
        ("<b>", ""),
        ("Ünicode", ""),
        (None, ""),
        (403, ""),
    ],
)
def test_a_message_shows_one_short_word(given: object, shown: str) -> None:
    assert clean(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("garage", "garage"),
        ("eu-central-1", "eu-central-1"),
        ("", ""),
        ("a b", ""),
        ("us-east-1, us-east-1", ""),
        ("-a", ""),
        ("a" * 64, ""),
        ("x@evil.example", ""),
        (None, ""),
    ],
)
def test_a_region_is_a_label_of_a_host_name(given: object, shown: str) -> None:
    assert clean_region(given) == shown


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("<Error><Code>Throttling.User</Code><Message>x</Message></Error>", "Throttling.User"),
        ("<e:Error xmlns:e='u'><e:Code a='b'>\n SlowDown </e:Code></e:Error>", "SlowDown"),
        ("<Error><Code><![CDATA[SlowDown]]></Code></Error>", "SlowDown"),
        ("<Error><code>SlowDown</code></Error>", "SlowDown"),
        ("<Error><Code>two words</Code></Error>", ""),
        ("<Error><Code></Code></Error>", ""),
        ("<Error><Code/></Error>", ""),
        (b"\xff<Error><Code>SlowDown</Code></Error>", "SlowDown"),
        ("<html>SlowDown</html>", ""),
        ("<!doctype html><p><code>SlowDown</code></p>", ""),
        ("<html><code>SlowDown</code></html>", ""),
        ("", ""),
        ("{", ""),
        ("{" * 3, ""),
        (json.dumps({"error": {"code": 403, "errors": [{"reason": "rateLimitExceeded"}]}}),
         "rateLimitExceeded"),
        (json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}),
         "RESOURCE_EXHAUSTED"),
        (json.dumps({"error": {"code": "ServerBusy", "message": "x"}}), "ServerBusy"),
        (json.dumps({"Code": "Throttling.User"}), "Throttling.User"),
        (json.dumps({"statusCode": "404", "error": "not_found"}), "not_found"),
        (json.dumps({"error": {"errors": [None], "code": None}}), ""),
        ('{"error": ' * 3000, ""),
    ],
)  # fmt: skip
def test_the_code_is_found_in_the_body(body: str | bytes, code: str) -> None:
    assert code_in(body) == code
