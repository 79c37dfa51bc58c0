"""KServe's contract for storage initializers: what its controller gives, as a run of kaiwo.

    models        pairs of a URI and a folder, as one order, and what remains afterwards

``uris`` and ``variables`` are the contract; ``links`` serves volumes. An archive goes through
``unpacking``, ``tar_files`` or ``zip_files``, and ``staging``, which has the rules for entries;
``places`` keeps the models of a run apart.
"""
