"""The conformance suite: what a source must do, run against a real server.

This is the definition of ``protocols.Source``. A provider's test file inherits the suite and says
how a bucket is filled, and which checksums the store states; kaiwo's own providers do it in a
dozen lines each:

    class TestMyStore(SourceSuite):
        checksums = ("md5",)

        @pytest.fixture
        def bucket(self, server) -> TestBucket:
            return TestBucket(opener=..., missing=..., put=lambda objects: ...)

What a test server cannot do, such as asking for credentials, is said by an attribute; see
``Suite``. ``examples/provider`` uses all of it. The suite needs pytest, which kaiwo itself does
not.

The names that are exported here are public: they stay, and keep their meaning, until the next
major version. A minor version may add tests, where kaiwo comes to rely on more; a source that fails
one of them then had that fault before.
"""

from kaiwo.suite.bucket import FOLDER, Signing, Suite, TestBucket
from kaiwo.suite.listing import ODD_NAMES, Listing
from kaiwo.suite.reading import Reading
from kaiwo.suite.sharing import Sharing

__all__ = ["FOLDER", "ODD_NAMES", "Signing", "SourceSuite", "Suite", "TestBucket"]


class SourceSuite(Listing, Reading, Sharing):
    """Inherited by the tests of each provider."""
