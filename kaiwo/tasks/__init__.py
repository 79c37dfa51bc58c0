"""What a user may write: one module for each task type.

    base                Task, Context: what all task types share
    object_store        BucketTask: the base of task types with buckets
    fields              types of fields, with their checks
    secrets             secrets in a field or in a file
    items               buckets, folder items and file items
    signature           the signature of a model, and who must have signed it
    fetch_request       the URL of ``kaiwo.fetch``, as a task type gets it
    registry            task types and URL schemes by name
    gcs_identity        who a GCS task is for Google
    azure_identity      who an Azure task is for Microsoft Entra
    connection_strings  connection strings of Azure, and their addresses
    gcs                 the task type: whether anybody signs in
    s3                  the task type: base of the one of ``kaiwo.initializer``
    hub_cache           the layout of the Hugging Face cache
    plugins             task types of other packages
    schema_rules        what a JSON Schema says of several fields at once

For a run, the modules of the task types (``s3``; ``gcs``; ``azure`` for ``azure-blob``; ``hub`` for
``hf``; ``url``) are loaded through ``registry``. The other modules are the package's own business.
"""
