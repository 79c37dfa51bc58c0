"""YAML, environment, options and URLs become validated tasks and settings.

    loader        load, build, Config: a file, or what it holds, as a validated configuration
    settings      Settings: options over environment over file over default
    own_files     the files of a run that are no targets
    document      Document: YAML as data, with the place of every key
    diagnostics   Diagnostic: one fault, with its place, and what to do
    rendering     diagnostics as text with lines of the file, or as JSON
    suggestions   nearest: what was meant by a name that nobody knows
    validation    findings: pydantic's errors for people
    variables     variables of the environment that look like settings, but are none
    schema        the JSON Schema of the file
    fetch_url     parse: the URLs of ``kaiwo.fetch``

The other modules are the package's own business: ``syntax`` (what is no YAML), ``excerpts`` (lines
without secrets), ``expansion`` (``${NAME}`` in texts), ``building`` (settings and tasks),
``sound_part`` (what is right of a wrong task) and ``targets``.
"""
