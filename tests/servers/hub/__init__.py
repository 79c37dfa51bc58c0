"""A local Hugging Face Hub: a folder, served as huggingface_hub expects it.

    python -m tests.servers.hub --root DIR [--port N] [--token T] [--page-size N] [--sign-seconds S]
                                [--rate N] [--xet]

The settings are `endpoint_url`, `lfs_url` and `token`: T is the only valid token, and empty where
none is valid. Each connection sends N bytes of files a second, and as many as it can by default.
With --xet there is `xet_url` too: LFS files that are not empty are also in a Xet store (see `xet`),
and trees and HEADs say so.

DIR, read again at each request that names a branch or a tag:

    DIR/{models,datasets,spaces}/OWNER--REPO/REVISION/…files…     OWNER/REPO
    DIR/{models,datasets,spaces}/REPO/REVISION/…files…            a canonical, one-word REPO
    DIR/{models,datasets,spaces}/OWNER--REPO/.kaiwo-hub.json      optional:

    {"private": true,            hidden from clients without a valid token
     "gated": true,              listed for all, its files are refused
     "granted": true,            whether T may read it; default: private yes, gated no
     "moved_to": "OWNER/NEW",    it was renamed: 307 to the same path of the other
     "lfs": ["*.bin"]}           these alone are LFS; default: *.bin, *.safetensors, all above 1 MiB

REVISION is a branch, tag or ref, percent-encoded (`main`, `v1.0`, `refs%2Fpr%2F1`). Object ids are
git's own (blobs, LFS pointers, trees); a commit is a function of the repository's name and tree,
so a changed file moves its branch, and two revisions with the same files share a commit. The bytes
of every commit once seen are kept, beside DIR's repositories, and served until the end.

Hub (`endpoint_url`):

    GET        /api/KIND/R[/revision/REV][?blobs=true][&expand=FIELD…]     sha, siblings, private, …
    GET        /api/KIND/R/tree/REV[/FOLDER]?recursive&expand&limit&cursor     pages, by `Link`
    POST       /api/KIND/R/paths-info/REV           paths=…&expand=…
    GET        /api/KIND/R/xet-read-token/REV       with --xet: as JSON, and as headers
    GET        /api/whoami-v2
    GET, HEAD  [/datasets|/spaces]/R/resolve/REV/F  the bytes, or 302 to the LFS host

LFS host (`lfs_url`): GET, HEAD /lfs/SHA256?…&Expires=…&Signature=…   400 to an Authorization
header, 403 when expired or signed otherwise.

Control (on the hub, not logged):

    GET   /__log      [{"method", "path", "range", "authorization": bool, "host"}], of all hosts
    GET   /__stats    {"in_flight", "max_in_flight"} of GETs that serve file bytes, and how many
                      of these bytes were "sent"
    POST  /__reset    forgets the log, the maximum, what was sent and the faults
    POST  /__expire   every URL and Xet token signed so far is refused from now on
    POST  /__fault    {"match": regex on the raw path and query, "action": A, "times": 1,
                       "after": 0, "seconds": any, "method": any}: the first `after` that
                       match are spared; it ends `seconds` after the first hit

A: `status:503`, `status:429:retry-after=1`, `expire` (as above, and then as always), or what
happens to the body: `truncate` (half of it, then the end of the connection), `reset` (half of it,
then RST), `stall` (half of it, then nothing), `flip` (the last byte is wrong). Answers without a
body fail before their headers.

As on the real Hub, an anonymous 401 carries no `X-Error-Code`. huggingface_hub takes it for a
missing repository at `https` addresses only; here, at `http`, it is a plain HfHubHTTPError.
"""
