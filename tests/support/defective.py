"""A task type that is somebody else's, and quotes its secret in its exceptions."""

#: Its module; ``when`` says where it raises.
DEFECTIVE = """
from kaiwo.tasks.fields import Secret
from kaiwo.tasks.items import Bucket
from kaiwo.tasks.object_store import BucketTask

class Defective(BucketTask):
    credentials = ("password",)
    type: str = "defective"
    password: Secret
    buckets: tuple[Bucket, ...]
    when: str

    @property
    def origin(self):
        return "defective"

    def url(self, container, key=""):
        return f"defective://{container}/{key}"

    def wants(self, context):
        self._fail("wants")
        yield from super().wants(context)

    def source(self, container, network):
        self._fail("source")
        return Broken(self)

    fast_source = source

    def _fail(self, when):
        if self.when == when:
            raise RuntimeError(f"cannot sign in with password={self.password.get_secret_value()!r}")

class Broken:
    def __init__(self, task):
        self.task = task

    def list(self, prefix):
        self.task._fail("list")

    def classify(self, error):
        self.task._fail("list")

    def close(self):
        self.task._fail("list")
"""
