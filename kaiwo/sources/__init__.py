"""Where bytes come from: one module or package for each kind of store.

    base           what a provider inherits, with a whole provider as an example
    http           what a provider over HTTP inherits: it reads already
    answers        what a provider checks in an answer
    translation    errors of an SDK become kaiwo errors
    paging         listings page by page
    identity       whose rights a task has: bearer tokens for all engines and threads
    folder_markers empty objects that only mark a folder
    s3, gcs, azure object stores through the SDK of an fsspec filesystem
    gcs_tokens     how Google's SDK asks for tokens: proxies, certificates, timeouts
    azure_tokens   the same for Microsoft Entra, and the tokens in requests
    azure_answers  reads what answers of Azure state, without the SDK
    s3_head        what S3 states about an object; a cheap HEAD request
    s3_answers     reads answers of the SDK leniently
    s3_region      signs again for the region that an answer names
    s3_redirects   follows redirects without credentials
    fsspec         any other fsspec filesystem
    fsspec_async   what sources on the event loop of a filesystem inherit
    obstore        object stores through obstore, with fsspec behind it
    hub            the Hugging Face Hub, and its cache
    web            files of web servers

Tasks open the sources; the engine sees them through ``protocols.Source``.
"""
