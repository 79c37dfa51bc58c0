"""YAML, environment, options and URLs become validated tasks and settings.

    loader        load, build, Config: a file, or what it holds, as a validated configuration
    settings      Settings: options over environment over file over default
    document      Document: YAML as data, with the line of every key
    schema        the JSON Schema of the file
    fetch_url     parse: the URLs of ``kaiwo.fetch``

``validation`` is the package's own business.
"""
