"""A stand-in for Google Cloud Storage: one store of objects, served by JSON and by XML.

    python -m tests.servers.gcs_standin [--port N] [--token T] [--page-size N]

The settings are `endpoint_url`, `project`, `service_account_file` and `token`. With T, a request
has to carry `Authorization: Bearer T`; without it, everything is open. The service account's
file names `POST /token` here, which grants T (or some token) for an assertion signed with its key.

JSON (gcsfs, google-cloud-storage):

    POST    /storage/v1/b                    makes a bucket; `versioning` keeps generations
    GET     /storage/v1/b/B
    GET     /storage/v1/b/B/o                prefix, delimiter, startOffset, maxResults,
                                             pageToken, fields
    GET     [/download]/storage/v1/b/B/o/K   generation, fields, alt=media; Range
    POST    /upload/storage/v1/b/B/o         uploadType=media, multipart, resumable
    POST    /storage/v1/b/B/o/K/compose      a composite object, which has no md5
    DELETE  /storage/v1/b/B/o/K

XML (obstore):

    GET     /B?list-type=2                   prefix, delimiter, max-keys, start-after, …
    GET     /B/K                             generation; Range
    HEAD, PUT, DELETE  /B/K

Both know `generation`, the preconditions (`If-Match`, `If-None-Match`, `ifGenerationMatch`,
`x-goog-if-generation-match`) and decompressive transcoding: what is stored with `Content-Encoding:
gzip` is unpacked, without a length and as a whole, for clients that do not accept gzip.

As in Cloud Storage, a request without a token is refused with 401 by JSON and with 403 by XML, an
error of `alt=media` is plain text, and the etag of JSON is not that of XML, which is the md5 where
there is one. Not here: rights, retention, custom metadata. Objects above 1 MiB are kept in
files; what was replaced stays there until the end.
"""
